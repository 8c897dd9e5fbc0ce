/**
 * The fast path: one payload in, one answer out. A droid runs a hook at every tool call, and nearly
 * always there is nothing to do: then nothing is loaded but this. Whatever comes in, it returns
 * within 1 s and prints valid hook JSON or nothing; a fault is a line in the log.
 */
import { dueMark, type Store, storeDir } from "./names.ts";
import { sessionPattern } from "./patterns.ts";
import { after, eachChunk, exists, variable } from "./runtime.ts";

/** How long the payload may take to come, in ms. */
const inputPatience = 750;

const maxPayload = 16 * 1024 * 1024;

/** Events at which there may be something to do beside a notice that is due. */
const lively = ["SessionStart", "SessionEnd", "SubagentStop", "Stop"];

/** `hook`, or `hook-complete`: SubagentStop under the old script's name. */
export async function hook(verb: string): Promise<void> {
	try {
		const payload = await readPayload();
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
		const { noteFault } = await import("./react.ts");
		noteFault(error, verb);
	}
}

// --- internal ---

type Raw = Record<string, unknown>;

async function hasWork(
	store: Store,
	event: string,
	{ session_id, tool_name }: Raw,
): Promise<boolean> {
	if (lively.includes(event)) return true;
	if (event === "PostToolUse" && tool_name === "Task") return true;
	if (event !== "PostToolUse" && event !== "UserPromptSubmit") return false;
	if (typeof session_id !== "string" || !sessionPattern.test(session_id))
		return false;
	return exists(dueMark(store, session_id));
}

/** Done as soon as the JSON is whole: whoever calls may never close the pipe. */
function readPayload(): Promise<Raw> {
	return new Promise((resolve, reject) => {
		const fail = (problem: string) => reject(new Error(problem));
		after(inputPatience, () => fail(`no payload within ${inputPatience} ms`));
		const decoder = new TextDecoder();
		let text = "";
		eachChunk((chunk) => {
			text += decoder.decode(chunk, { stream: chunk !== undefined });
			if (text.length > maxPayload) return fail("a payload over 16 MiB");
			if (chunk && !text.trimEnd().endsWith("}")) return;
			try {
				const value: unknown = JSON.parse(text);
				if (typeof value === "object" && value && !Array.isArray(value))
					return resolve(value as Raw);
			} catch {}
			if (!chunk)
				fail(text.trim() ? "a payload that is no JSON object" : "no payload");
		}, reject);
	});
}
