/**
 * The fast path: one payload in, one answer out. A droid runs a hook at every tool call, and nearly
 * always there is nothing to do: then nothing is loaded but this. Whatever comes in, it returns
 * within 1 s and prints valid hook JSON or nothing; a fault is a line in the log.
 */
import { answersTo } from "./events.ts";
import { dueMark, type Store, storeDir } from "./names.ts";
import { sessionPattern } from "./patterns.ts";
import { after, exists, exit, openInput, variable } from "./runtime.ts";

/** How long the payload may take to come, in ms. */
const inputPatience = 750;

const maxPayload = 16 * 1024 * 1024;

/** `hook`, or `hook-complete`: SubagentStop under the old script's name. */
export async function hook(verb: string): Promise<void> {
	let isRead = false;
	after(inputPatience, async () => {
		if (isRead) return;
		await fail(new Error(`no payload within ${inputPatience} ms`), verb);
		exit(0);
	});
	try {
		const payload = await readPayload();
		isRead = true;
		const event =
			verb === "hook-complete"
				? "SubagentStop"
				: String(payload.hook_event_name ?? "SubagentStop");
		const [BG_DIR, HOME] = [variable("BG_DIR"), variable("HOME")];
		const store = { dir: storeDir({ BG_DIR, HOME }) };
		if (!(await hasWork(store, event, payload))) return;
		const { react } = await import("./react.ts");
		react(store, verb, { ...payload, hook_event_name: event });
	} catch (error) {
		isRead = true;
		await fail(error, verb);
	}
}

// --- internal ---

async function fail(error: unknown, verb: string): Promise<void> {
	try {
		const { noteFault } = await import("./react.ts");
		noteFault(error, verb);
	} catch {
		// Nothing can be loaded any more; whoever calls is not to be harmed by that.
	}
}

type Raw = Record<string, unknown>;

async function hasWork(
	store: Store,
	event: string,
	{ session_id, tool_name }: Raw,
): Promise<boolean> {
	const answers = answersTo(event);
	if (answers?.lively) return true;
	if (event === "PostToolUse" && tool_name === "Task") return true;
	if (!answers?.tells) return false;
	if (typeof session_id !== "string" || !sessionPattern.test(session_id))
		return false;
	return exists(dueMark(store, session_id));
}

/** Done as soon as the JSON is whole: whoever calls may never close the pipe. */
async function readPayload(): Promise<Raw> {
	const decoder = new TextDecoder();
	const read = openInput();
	for (let text = ""; ; ) {
		const { value: chunk } = await read();
		text += decoder.decode(chunk, { stream: chunk !== undefined });
		if (text.length > maxPayload) throw new Error("a payload over 16 MiB");
		if (chunk && !text.trimEnd().endsWith("}")) continue;
		try {
			const value: unknown = JSON.parse(text);
			if (typeof value === "object" && value && !Array.isArray(value))
				return value as Raw;
		} catch {}
		if (chunk) continue;
		throw new Error(
			text.trim() ? "a payload that is no JSON object" : "no payload",
		);
	}
}
