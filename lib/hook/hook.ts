/**
 * The fast path: reads one payload and prints one answer. Droid runs a hook at every tool call, and
 * most have nothing to do: then only this file and its few imports are loaded. Whatever the input,
 * a hook exits within 1 s and prints valid hook JSON or nothing; a fault is one line in the log.
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
import { type HookEvent, hookEvents, isHookEvent } from "./events.ts";

/** How long the payload may take to arrive, in ms. */
const inputTimeoutMs = 750;

const maxPayloadLength = 16 * 1024 * 1024;

/** Runs `hook`, or `hook-complete`: SubagentStop under the old script's name. */
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
		const name =
			verb === "hook-complete"
				? "SubagentStop"
				: String(payload.hook_event_name ?? "SubagentStop");
		if (!isHookEvent(name)) return;
		const [BG_DIR, HOME] = [readVariable("BG_DIR"), readVariable("HOME")];
		const dir = storeDir({ BG_DIR, HOME });
		if (!(await hasWork({ dir }, hookEvents[name], payload))) return;
		const { handleEvent } = await import("./handle-event.ts");
		const raw = { ...payload, hook_event_name: name };
		handleEvent(name, { dir, verb, raw });
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
		// Nothing can be loaded or written any more; a hook still must not fail.
	}
}

type RawPayload = Record<string, unknown>;

async function hasWork(
	store: Store,
	{ ifDue, orTool }: HookEvent,
	{ session_id, tool_name }: RawPayload,
): Promise<boolean> {
	if (!ifDue || (orTool !== undefined && tool_name === orTool)) return true;
	if (typeof session_id !== "string" || !sessionPattern.test(session_id))
		return false;
	return pathExists(dueMark(store, session_id));
}

/** Returns as soon as the JSON is complete: the caller may never close the pipe. */
async function readPayload(): Promise<RawPayload> {
	const decoder = new TextDecoder();
	const read = openInput();
	for (let text = ""; ; ) {
		const { value: chunk } = await read();
		text += decoder.decode(chunk, { stream: chunk !== undefined });
		if (text.length > maxPayloadLength)
			throw new Error("the payload is larger than 16 MiB");
		if (chunk && !text.trimEnd().endsWith("}")) continue;
		try {
			const value: unknown = JSON.parse(text);
			if (typeof value === "object" && value && !Array.isArray(value))
				return value as RawPayload;
		} catch {}
		if (chunk) continue;
		throw new Error(
			text.trim() ? "the payload is not a JSON object" : "no payload",
		);
	}
}
