/**
 * The fast path: one payload in, one answer out. A droid runs a hook at every tool call, and nearly
 * always there is nothing to do: then nothing is loaded but this. Whatever comes in, it returns
 * within 1 s and prints valid hook JSON or nothing; a fault is a line in the log.
 *
 * This is the one room that may name `Bun`: its standard input and its look for a file are there
 * before any module is loaded.
 */
import { dueMark, type Store, storeDir } from "./names.ts";
import { sessionPattern } from "./patterns.ts";

/** How long the payload may take to come, and a whole call once it runs, in ms. */
const inputPatience = 750;
const patience = 900;

const maxPayload = 16 * 1024 * 1024;

/** Events at which there may be something to do beside a notice that is due. */
const lively = ["SessionStart", "SessionEnd", "SubagentStop", "Stop"];

/** `hook`, or `hook-complete`: SubagentStop under the old script's name. */
export async function hook(verb: string): Promise<void> {
	await Promise.race([after(patience), act(verb)]);
}

async function act(verb: string): Promise<void> {
	try {
		const late = after(inputPatience).then(() => {
			throw new Error(`no whole payload within ${inputPatience} ms`);
		});
		const payload = await Promise.race([readPayload(), late]);
		const event =
			verb === "hook-complete"
				? "SubagentStop"
				: String(payload.hook_event_name ?? "SubagentStop");
		const store = { dir: storeDir() };
		if (!(await hasWork(store, event, payload))) return;
		const { react } = await import("./react.ts");
		react(store, verb, { ...payload, hook_event_name: event });
	} catch (error) {
		const { noteFault } = await import("./react.ts");
		noteFault(error, verb);
	}
}

// --- internal ---

type Raw = Record<string, unknown>;

async function hasWork(
	store: Store,
	event: string,
	payload: Raw,
): Promise<boolean> {
	if (lively.includes(event)) return true;
	if (event === "PostToolUse" && payload.tool_name === "Task") return true;
	if (event !== "PostToolUse" && event !== "UserPromptSubmit") return false;
	const session = payload.session_id;
	if (typeof session !== "string" || !sessionPattern.test(session))
		return false;
	return exists(dueMark(store, session));
}

async function exists(path: string): Promise<boolean> {
	if (typeof Bun !== "undefined") return Bun.file(path).exists();
	return (await import("node:fs")).existsSync(path);
}

/** Done as soon as the JSON is whole: whoever calls may never close the pipe. */
async function readPayload(): Promise<Raw> {
	const decoder = new TextDecoder();
	let text = "";
	for await (const chunk of input()) {
		text += decoder.decode(chunk, { stream: true });
		if (text.length > maxPayload) throw new Error("a payload over 16 MiB");
		const payload = parse(text);
		if (payload) return payload;
	}
	if (!text.trim()) throw new Error("no payload");
	const payload = parse(text);
	if (!payload) throw new Error("a payload that is no JSON object");
	return payload;
}

function parse(text: string): Raw | undefined {
	if (!text.trimEnd().endsWith("}")) return undefined;
	try {
		const value: unknown = JSON.parse(text);
		const isObject =
			typeof value === "object" && value !== null && !Array.isArray(value);
		return isObject ? (value as Raw) : undefined;
	} catch {
		return undefined;
	}
}

function input(): AsyncIterable<Uint8Array> {
	return typeof Bun === "undefined" ? process.stdin : Bun.stdin.stream();
}

function after(ms: number): Promise<void> {
	return new Promise((resolve) => {
		setTimeout(resolve, ms);
	});
}
