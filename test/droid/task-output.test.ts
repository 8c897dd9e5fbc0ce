import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { readOutputText } from "../../lib/droid/pages.ts";
import { readCurrentDigest, readResult } from "../../lib/droid/task-output.ts";
import { openStore } from "../../lib/store/directory.ts";
import {
	keepAttemptOutput,
	writeProgress,
} from "../../lib/store/output-files.ts";
import { outputFile } from "../../lib/store/paths.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { parseTask } from "../../lib/task/parse.ts";
import type { Task } from "../../lib/task/schema.ts";
import { sandbox } from "../tools/harness.ts";

/** A running droid's task that wrote this stream. */
function streamed(...parts: (object | string)[]) {
	const store = openStore({ dir: sandbox().dir, write: true });
	const task: Task = {
		...parseTask(JSON.stringify({ id: createTaskId(), status: "running" })),
		command: ["droid"],
	};
	const lines = parts.map((part) =>
		typeof part === "string" ? part : `${JSON.stringify(part)}\n`,
	);
	writeFileSync(outputFile(store, task.id), lines.join(""));
	return { store, task };
}

const said = (text: string) => ({ type: "message", role: "assistant", text });
const call = { type: "tool_call", toolName: "Execute" };
const MiB = 1024 * 1024;

test("the result is the last message, however long the stream is", () => {
	const { store, task } = streamed(
		said("old"),
		{ type: "message", role: "user", text: "x".repeat(30 * MiB) },
		said("new"),
	);
	expect(readResult(store, task).facts.result).toBe("new");
});

test("a torn line at the start of the window is not text", () => {
	const { store, task } = streamed(said("y".repeat(3 * MiB)));
	expect(readResult(store, task).error).toBeUndefined();
});

test("a stream is read on from the last offset, 8 MiB a call", () => {
	const filler = { type: "message", role: "user", text: "x".repeat(3 * MiB) };
	const { store, task } = streamed(
		call,
		filler,
		call,
		filler,
		call,
		filler,
		call,
	);
	const counts = [1, 2, 3].map(
		() => readCurrentDigest(store, task).progress.toolCalls,
	);
	expect(counts[0]).toBeLessThan(4);
	expect(counts.at(-1)).toBe(4);
});

test("a late note of an earlier attempt does not count for the next one", () => {
	const { store, task } = streamed(call, call, said("first"));
	const old = readCurrentDigest(store, task);
	keepAttemptOutput(store, task.id, 1);
	const next = { ...task, attempt: 2 };
	const lines = [call, said("second"), said("x".repeat(100)), call];
	const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
	writeFileSync(outputFile(store, task.id), text);
	for (const late of [task, next]) {
		writeProgress(store, { id: task.id, attempt: 1 }, old);
		readCurrentDigest(store, late);
		expect(readCurrentDigest(store, next).progress.toolCalls).toBe(2);
	}
});

test("a line longer than the window does not stop the reader", () => {
	const { store, task } = streamed("z".repeat(20 * MiB), "\n", call);
	for (let looks = 0; looks < 4; looks++) readCurrentDigest(store, task);
	expect(readCurrentDigest(store, task).progress.toolCalls).toBe(1);
});

test("a droid that never started is known by its own words, each line once", () => {
	const words = ["Invalid model: x\n", "\n", "Available models:\n", "  y\n"];
	const { store, task } = streamed(...words, ...words);
	expect(readResult(store, task).error).toBe(
		"Invalid model: x Available models: y",
	);
	const later = streamed(JSON.stringify(said("hi")), "\n", "one\n", "two\n");
	expect(readResult(later.store, later.task).error).toBe("one");
});

test("the text of a stream ends with a whole event, even if it is the first one", () => {
	const event = JSON.stringify(said("hi"));
	const { store, task } = streamed(event.slice(0, 10));
	const options = { since: 0, max: 1000 };
	expect(readOutputText(store, task, options)).toMatchObject({
		output: "",
		nextOffset: 0,
	});
	writeFileSync(outputFile(store, task.id), `${event}\n`);
	expect(readOutputText(store, task, options).output).toBe("hi\n");
});
