/**
 * The fast path: one payload in, one answer out. A droid runs a hook at every tool call, and nearly
 * always there is nothing to do: then nothing is loaded but this. Whatever comes in, it returns
 * within 1 s and prints valid hook JSON or nothing; a fault is a line in the log.
 */

import {
	exit,
	openInput,
	pathExists,
	readVariable,
	runAfter,
} from "../process/runtime.ts";
import { dueMark, type Store, storeDir } from "../store/paths.ts";
import { sessionPattern } from "../task/ids.ts";
import { findHookEvent } from "./events.ts";

/** How long the payload may take to come, in ms. */
const inputTimeoutMs = 750;

const maxPayloadLength = 16 * 1024 * 1024;

/** `hook`, or `hook-complete`: SubagentStop under the old script's name. */
export async function runHook(verb: string): Promise<void> {
	let isRead = false;
	runAfter(inputTimeoutMs, async () => {
		if (isRead) return;
		await reportFault(
			new Error(`no payload within ${inputTimeoutMs} ms`),
			verb,
		);
		exit(0);
	});
	try {
		const payload = await readPayload();
		isRead = true;
		const event =
			verb === "hook-complete"
				? "SubagentStop"
				: String(payload.hook_event_name ?? "SubagentStop");
		const [BG_DIR, HOME] = [readVariable("BG_DIR"), readVariable("HOME")];
		const store = { dir: storeDir({ BG_DIR, HOME }) };
		if (!(await hasWork(store, event, payload))) return;
		const { handleEvent } = await import("./handle-event.ts");
		handleEvent(store, verb, { ...payload, hook_event_name: event });
	} catch (error) {
		isRead = true;
		await reportFault(error, verb);
	}
}

// --- internal ---

async function reportFault(error: unknown, verb: string): Promise<void> {
	try {
		const { logHookFault } = await import("./handle-event.ts");
		logHookFault(error, verb);
	} catch {
		// Nothing can be loaded any more; whoever calls is not to be harmed by that.
	}
}

type RawPayload = Record<string, unknown>;

async function hasWork(
	store: Store,
	event: string,
	{ session_id, tool_name }: RawPayload,
): Promise<boolean> {
	const answers = findHookEvent(event);
	if (answers?.needsHandler) return true;
	if (event === "PostToolUse" && tool_name === "Task") return true;
	if (!answers?.showsNotices) return false;
	if (typeof session_id !== "string" || !sessionPattern.test(session_id))
		return false;
	return pathExists(dueMark(store, session_id));
}

/** Done as soon as the JSON is whole: whoever calls may never close the pipe. */
async function readPayload(): Promise<RawPayload> {
	const decoder = new TextDecoder();
	const read = openInput();
	for (let text = ""; ; ) {
		const { value: chunk } = await read();
		text += decoder.decode(chunk, { stream: chunk !== undefined });
		if (text.length > maxPayloadLength)
			throw new Error("a payload over 16 MiB");
		if (chunk && !text.trimEnd().endsWith("}")) continue;
		try {
			const value: unknown = JSON.parse(text);
			if (typeof value === "object" && value && !Array.isArray(value))
				return value as RawPayload;
		} catch {}
		if (chunk) continue;
		throw new Error(
			text.trim() ? "a payload that is no JSON object" : "no payload",
		);
	}
}
