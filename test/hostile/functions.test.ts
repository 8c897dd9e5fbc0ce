/** The pure functions, and those that make paths, under thousands of hostile inputs each. */

import { expect, onTestFinished, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import * as v from "valibot";
import { checkCall, loadVerbs } from "../../lib/cli/verb.ts";
import { verbs } from "../../lib/cli/verbs.ts";
import { planBatch } from "../../lib/control/launch/batch.ts";
import { parseDefinition } from "../../lib/droid/definitions/definition.ts";
import { buildExecCommand } from "../../lib/droid/exec.ts";
import {
	findLastAssistantText,
	HookPayload,
	parseSubagent,
} from "../../lib/droid/payloads.ts";
import {
	digestStream,
	digestTail,
	parseDigest,
	parseEvent,
	renderEvent,
} from "../../lib/droid/stream.ts";
import { isRefusal } from "../../lib/error.ts";
import { formatTable } from "../../lib/print/table.ts";
import {
	escapeJson,
	toJson,
	toLine,
	toPlain,
	truncateBytes,
} from "../../lib/print/text.ts";
import { formatTaskAge } from "../../lib/print/units.ts";
import { decidePrune } from "../../lib/prune/prune.ts";
import {
	checkSupervision,
	describeNote,
	describeSupervision,
} from "../../lib/prune/supervision.ts";
import { createOnEndMark, takeOnEndMark } from "../../lib/spawn/command.ts";
import { readLimits } from "../../lib/spawn/limits.ts";
import { dequeue, releaseSlot, setRunnable } from "../../lib/spawn/queue.ts";
import { readKeyHolder, writeKeyHolder } from "../../lib/store/claims.ts";
import { openStore } from "../../lib/store/directory.ts";
import * as ends from "../../lib/store/ends.ts";
import * as paths from "../../lib/store/paths.ts";
import { resolveTaskId } from "../../lib/store/records.ts";
import * as notices from "../../lib/store/sessions/notices.ts";
import * as sessions from "../../lib/store/sessions/session-index.ts";
import { parseTask } from "../../lib/task/parse.ts";
import type { Task } from "../../lib/task/schema.ts";
import { finishTask, isFinal, requeueForRetry } from "../../lib/task/states.ts";
import { sandbox, snapshot } from "../tools/harness.ts";
import { taskCall } from "../tools/hooks.ts";
import {
	bytes,
	firstObeyed,
	fullRecord,
	json,
	mutations,
	oldRecord,
	streamLine,
	text,
	times,
	word,
} from "./inputs.ts";

const id = "bg_0123456789ab";

/** What may be thrown at a user: never a bug's own error. */
function ofUser<T>(act: () => T): T | undefined {
	try {
		return act();
	} catch (error) {
		if (isRefusal(error)) return undefined;
		throw error;
	}
}

/** A variable of this process for one test. */
function setVariable(name: string, value: string): void {
	const before = process.env[name];
	process.env[name] = value;
	onTestFinished(() => {
		if (before === undefined) delete process.env[name];
		else process.env[name] = before;
	});
}

test("whatever is shown, no terminal obeys it, and JSON stays what it was", () => {
	fc.assert(
		fc.property(
			text,
			fc.integer({ min: 1, max: 300 }),
			json,
			(given, length, value) => {
				for (const shown of [
					toPlain(given),
					toLine(given, length),
					formatTable([["a", toLine(given)]]),
					toJson(given),
					escapeJson(value),
				])
					expect(firstObeyed(shown)).toBeUndefined();
				expect(toLine(given, length)).not.toContain("\n");
				expect([...toLine(given, length)].length).toBeLessThanOrEqual(length);
				expect(JSON.parse(toJson(given))).toBe(given);
				const cut = truncateBytes(given.toWellFormed(), length, "first");
				expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(length);
				expect(given.toWellFormed()).toStartWith(cut);
			},
		),
		{ numRuns: times(2000) },
	);
});

/** A record that was read, and all that is asked of it. */
function useTask(task: Task): void {
	expect(task.id).toBe(id);
	const supervision = checkSupervision(task, () => "gone");
	describeSupervision(task, supervision);
	expect(typeof formatTaskAge(task)).toBe("string");
	describeNote(task);
	const limits = { ttl: 1, stale: 1, ageAlone: false };
	const times = { now: 1e12, wrote: 0, recorded: 0 };
	decidePrune(task, supervision, { ...limits, ...times });
	const end = {
		reason: "exit",
		failed: true,
		at: "2026-01-01T00:00:00Z",
	} as const;
	expect(isFinal(finishTask(task, end))).toBe(true);
	requeueForRetry(task, finishTask(task, end));
	toJson(task);
}

test("a record is a task that can be used, or an error, whatever bytes it has", () => {
	const record = fc.oneof(
		mutations({ id, ...fullRecord }),
		mutations({ id, ...fullRecord, schema: 2 }),
		mutations({ id, ...oldRecord }),
		json,
	);
	let read = 0;
	fc.assert(
		fc.property(bytes(record), (given) => {
			let task: Task;
			try {
				task = parseTask(given.toString());
			} catch (error) {
				expect(error).toBeInstanceOf(Error);
				expect((error as Error).name).not.toBe("RangeError");
				return;
			}
			if (task.id !== id) return;
			read++;
			useTask(task);
		}),
		{ numRuns: times(4000) },
	);
	expect(read).toBeGreaterThan(500);
});

test("a droid's stream is read and shown, whatever it says", () => {
	fc.assert(
		fc.property(fc.array(streamLine, { maxLength: 6 }), json, (lines, note) => {
			for (const line of lines) {
				const shown = toPlain(renderEvent(parseEvent(line)));
				expect(firstObeyed(shown)).toBeUndefined();
			}
			const all = Buffer.from(lines.join("\n"));
			const digest = digestStream(parseDigest(undefined), all);
			expect(digest.offset).toBeLessThanOrEqual(all.length);
			digestTail(all);
			toJson(digest);
			digestStream(parseDigest(JSON.parse(note)), all);
		}),
		{ numRuns: times(2000) },
	);
});

test("a payload is one that can be used, or refused; a transcript has words, or none", () => {
	const payload = mutations({
		...taskCall("s", "t"),
		calling_session_id: "c",
		task_name: "n",
		task_result: "r",
		agent_id: "a",
		last_assistant_message: "m",
		stop_hook_active: false,
	});
	const message = { role: "assistant", content: [{ type: "text", text: "w" }] };
	const line = fc.oneof(
		mutations({ type: "message", message }),
		mutations(message),
		json,
	);
	fc.assert(
		fc.property(payload, fc.array(line), (given, lines) => {
			const parsed = v.safeParse(HookPayload, JSON.parse(given));
			if (parsed.success) {
				const subagent = parseSubagent(parsed.output);
				if (subagent) expect(subagent.sessionId).toMatch(/^[\w-]{1,128}$/);
			}
			findLastAssistantText(Buffer.from(lines.join("\n")));
		}),
		{ numRuns: times(3000) },
	);
});

test("no value of a droid's definition becomes a flag, and none keeps a launch", () => {
	const line = fc.oneof(
		fc
			.tuple(
				fc.constantFrom(
					"name",
					"model",
					"reasoningEffort",
					"tools",
					"- x",
					"#",
				),
				fc.constantFrom(":", ": ", ":[", "\n- ", " "),
				text,
			)
			.map((parts) => parts.join("")),
		text,
	);
	const definition = fc
		.array(line, { maxLength: 8 })
		.map((lines) => `---\n${lines.join("\n")}\n---\nBody`);
	fc.assert(
		fc.property(fc.oneof(definition, text), (given) => {
			const definition = parseDefinition(given);
			const argv = buildExecCommand({
				program: "droid",
				autonomy: "low",
				definition,
			});
			const flags = argv.filter((each) => each.startsWith("-"));
			const known = ["--auto", "-o", "-m", "-r", "--only-tools"];
			expect(known).toEqual(expect.arrayContaining(flags));
			expect(new Set(flags).size).toBe(flags.length);
			expect(definition.warnings.length).toBeLessThanOrEqual(11);
		}),
		{ numRuns: times(3000) },
	);
	const blanks = " ".repeat(1_000_000);
	const long = `---\ntools: a${blanks}b\nmodel: a${blanks}b\n- ${blanks}\n---\n`;
	expect(parseDefinition(long).warnings).toHaveLength(3);
});

test("argv of any verb is arguments, or an error that says what is wrong", async () => {
	const table = await loadVerbs(verbs);
	const flags = table.flatMap(({ args }) =>
		Object.keys(args).map((flag) => `--${flag}`),
	);
	const part = fc.oneof(
		{ weight: 3, arbitrary: fc.constantFrom(...flags) },
		fc.tuple(fc.constantFrom(...flags), word).map((pair) => pair.join("=")),
		word,
	);
	fc.assert(
		fc.property(
			fc.constantFrom(...table),
			fc.array(part, { maxLength: 6 }),
			(verb, argv) => {
				const call = ofUser(() => checkCall(verb, argv));
				if (!call || call.values.help) return;
				const { values } = call;
				const known = Object.keys(verb.args);
				expect(known).toEqual(expect.arrayContaining(Object.keys(values)));
				// Every given value arrives, and no other.
				for (const value of Object.values(values))
					if (typeof value === "string")
						for (const each of value.split("\0"))
							expect(argv.some((word) => word.endsWith(each))).toBe(true);
			},
		),
		{ numRuns: times(4000) },
	);
});

const batchLine = {
	description: "d",
	prompt: "p",
	name: "n",
	private: false,
	droid: "worker",
	parent_session_id: "main",
	autonomy: "low",
	model: "m",
	worktree: true,
	cwd: "/",
	env: { A: "b" },
	stdin: "/dev/null",
	tags: ["t"],
	after: ["n"],
	timeout: "1h",
	priority: 1,
	retries: 1,
	unique: "k",
	max_output: "1M",
	on_end: ["true"],
};

test("a batch is planned as a whole, or refused in one line that names the lines at fault", () => {
	const box = sandbox();
	setVariable("BG_DIR", box.dir);
	setVariable("BG_DROID", "/bin/true");
	setVariable("HOME", box.home);
	const {
		prompt,
		droid,
		autonomy,
		model,
		worktree,
		private: _,
		...rest
	} = batchLine;
	const line = fc.oneof(
		mutations({ ...batchLine, after: [] }),
		mutations({ ...rest, after: [], command: ["true", "x"] }),
		mutations(batchLine),
		fc.constant('{"description":"d","prompt":"p"}'),
		json,
	);
	let planned = 0;
	fc.assert(
		fc.property(fc.array(line, { maxLength: 3 }), (lines) => {
			const plans = ofUser(() => planBatch(lines.join("\n")));
			planned += plans?.length ?? 0;
			for (const { plan } of plans ?? []) {
				expect(parseTask(JSON.stringify(plan.task))).toBeObject();
				const { command = [], prompt = "", cwd = "" } = plan.task;
				const system = [...command, cwd, ...Object.values(plan.env)];
				// The system takes no NUL, and a prompt may go by a file.
				expect(system.join("")).not.toContain("\0");
				if (plan.task.via === "argv") expect(prompt).not.toContain("\0");
			}
		}),
		{ numRuns: times(1500) },
	);
	expect(planned).toBeGreaterThan(100);
});

test("limits are numbers or refused, and the store is an absolute path, whatever the environment", () => {
	const env = fc.record({
		BG_DIR: word,
		HOME: word,
		BG_MAX_RUNNING: word,
		BG_MAX_QUEUED: word,
	});
	fc.assert(
		fc.property(env, (given) => {
			expect(paths.storeDir(given)).toStartWith("/");
			const limits = ofUser(() => readLimits(given));
			for (const limit of Object.values(limits ?? {}))
				expect(limit).toBeGreaterThan(0);
		}),
		{ numRuns: times(2000) },
	);
});

test("no id, session, key or droid makes a name outside the store", () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const beside = join(box.home, "canary");
	mkdirSync(beside);
	writeFileSync(join(beside, "file"), "mine");
	writeFileSync(join(box.dir, "..", "file"), "mine");
	const { dir, ...around } = {
		dir: box.dir,
		beside,
		base: join(box.dir, ".."),
	};
	const before = [snapshot(beside), snapshot(join(dir, ".."))[""]];
	const outside = Object.values(around);
	const acts: ((given: string) => unknown)[] = [
		(given) => paths.recordFile(store, given),
		(given) => paths.outputFile(store, given),
		(given) => paths.promptFile(store, given),
		(given) => paths.progressFile(store, given),
		(given) => paths.lockFolder(store, given),
		(given) => paths.onEndMark(store, given),
		(given) => resolveTaskId(store, given),
		(given) => createOnEndMark(store, given),
		(given) => takeOnEndMark(store, given),
		(given) => sessions.indexSession(store, given, id),
		(given) => sessions.listSessionTasks(store, given),
		(given) => sessions.writeSessionNote(store, given, "ended", given),
		(given) => sessions.readSessionNote(store, given, "ended"),
		(given) => sessions.claimSession(store, given),
		(given) => sessions.unindexSession(store, given, id),
		(given) => notices.expectNotice(store, given, id),
		(given) => ends.markNoticeDue(store, given, id),
		(given) =>
			notices.removeClaimedNotices(
				store,
				given,
				notices.claimNotices(store, given),
			),
		(given) => notices.forwardNotices(store, given, "s"),
		(given) => notices.discardNotice(store, given, id),
		(given) => writeKeyHolder(store, given, id),
		(given) => readKeyHolder(store, given),
	];
	fc.assert(
		fc.property(text, fc.double(), (given, number) => {
			for (const act of acts)
				try {
					const path = act(given);
					if (typeof path === "string" && path.startsWith("/"))
						expect(join(path, "..")).toStartWith(dir);
				} catch (error) {
					expect((error as Error).message).toMatch(/not a task id|no task/);
				}
			const task: Task = {
				id,
				kind: "droid",
				description: "",
				status: "queued",
				agent: given,
				priority: number,
				depth: number,
			};
			setRunnable(store, task, true, readLimits({}));
			setRunnable(store, task, false);
			dequeue(store, task);
			releaseSlot(store, task);
			expect(readdirSync(join(dir, ".queue"))).toEqual([]);
		}),
		{ numRuns: times(300) },
	);
	expect(outside).toHaveLength(2);
	expect([snapshot(beside), snapshot(join(dir, ".."))[""]]).toEqual(before);
});
