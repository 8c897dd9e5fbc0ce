/** A real droid that a test speaks to by JSON-RPC, as an editor does: turns, compaction, loading. */
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { type Lab, useClient } from "./droid-lab.ts";

export type DroidClient = {
	/** The id of its session. */
	session: () => string;
	/** Sends a prompt and waits for the end of the turn. */
	turn: (prompt: string) => Promise<void>;
	/** Compacts the session, which goes on under the id that is returned, once that is loaded. */
	compact: () => Promise<string>;
	/** Loads a session. */
	load: (session: string) => Promise<void>;
	/** Ends the session and the process. */
	close: () => Promise<void>;
};

type Message = {
	id?: string;
	type?: string;
	result?: Record<string, string>;
	error?: unknown;
	params?: { notification?: { type?: string } };
};

/** Starts a droid with a new session. */
export async function startClient(lab: Lab): Promise<DroidClient> {
	const format = "stream-jsonrpc";
	const formats = ["--input-format", format, "--output-format", format];
	const child = Bun.spawn(
		[useClient(), "exec", ...formats, "-m", "custom:lab"],
		{
			cwd: lab.project,
			env: lab.env,
			stdin: "pipe",
			stdout: "pipe",
			stderr: "inherit",
		},
	);
	const waiting = new Map<string, (message: Message) => void>();
	let onTurnEnd = () => {};
	const input = Readable.fromWeb(child.stdout);
	createInterface({ input }).on("line", (line) => {
		const message: Message = JSON.parse(line);
		if (message.type === "response") waiting.get(message.id ?? "")?.(message);
		const event = message.params?.notification?.type;
		if (event === "agent_turn_completed") onTurnEnd();
	});
	let count = 0;
	const call = async (method: string, params: object) => {
		const id = String(++count);
		const answered = new Promise<Message>((resolve) => {
			waiting.set(id, resolve);
		});
		const head = { factoryApiVersion: "1.0.0", jsonrpc: "2.0" };
		const request = { ...head, type: "request", id, method, params };
		child.stdin.write(`${JSON.stringify(request)}\n`);
		await child.stdin.flush();
		const { result, error } = await answered;
		if (!result) throw new Error(`${method}: ${JSON.stringify(error)}`);
		return result;
	};
	const begun = await call("droid.initialize_session", {
		machineId: "lab",
		cwd: lab.project,
		autonomyLevel: "high",
		modelId: "custom:lab",
		interactionMode: "auto",
	});
	let session = begun.sessionId ?? "";
	return {
		session: () => session,
		turn: async (text) => {
			const ended = new Promise<void>((resolve) => {
				onTurnEnd = resolve;
			});
			await call("droid.add_user_message", { text });
			await ended;
		},
		compact: async () =>
			(await call("droid.compact_session", {})).newSessionId ?? "",
		load: async (sessionId) => {
			await call("droid.load_session", { sessionId });
			session = sessionId;
		},
		close: async () => {
			await call("droid.close_session", { reason: "other" });
			child.stdin.end();
			await child.exited;
		},
	};
}
