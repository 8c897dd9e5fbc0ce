/**
 * The whole program under hostile input: no crash without a message, nothing outside the store made
 * or changed, no command evaluated, nothing in a text that a terminal obeys.
 */
import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { verbs } from "../../lib/cli/verbs.ts";
import { exitCodes } from "../../lib/error.ts";
import { recordFile } from "../../lib/store/paths.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import {
	type Answer,
	type CallOptions,
	executable,
	type Sandbox,
	sandbox,
	snapshot,
	until,
} from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	child,
	expectHarmless,
	parent,
	payload,
	sessionEnd,
	sessionStart,
	stopOf,
	taskCall,
	toolUse,
} from "../tools/hooks.ts";
import {
	bytes,
	firstObeyed,
	fullRecord,
	json,
	mutations,
	oldRecord,
	seed,
	streamLine,
	text,
	times,
	word,
} from "./inputs.ts";

type Watched = Sandbox & { bystanders: () => unknown };

/** A store with something of everything, and things beside it that nobody is to touch. */
function watched(): Watched & { ids: string[] } {
	const box = sandbox();
	for (const dir of [box.home, join(box.dir, "..")]) {
		mkdirSync(join(dir, "canary"), { recursive: true });
		writeFileSync(join(dir, "canary", "file"), "mine");
	}
	// Bun keeps what it compiled at home.
	box.env.BUN_RUNTIME_TRANSPILER_CACHE_PATH = "0";
	box.env.BG_DROID = executable(box.home, "droid", "#!/bin/sh\necho done\n");
	const ids = [
		addEnd(box, parent),
		addTask(box, { status: "completed", kind: "droid", command: ["droid"] }),
	];
	for (const id of ids)
		writeFileSync(join(box.dir, `${id}.out`), "words\n", { mode: 0o600 });
	const bystanders = () => {
		const { "": _, ...home } = snapshot(box.home);
		return { home, around: snapshot(join(box.dir, "..", "canary")) };
	};
	return { ...box, ids, bystanders };
}

/** An answer for a person or a program: a code that is documented, one line where it is a fault. */
function expectSound({ code, stdout, error }: Answer, isText: boolean): void {
	const codes: number[] = Object.values(exitCodes);
	expect({ error, isCode: codes.includes(code ?? -1) }).toEqual({
		error: expect.stringMatching(/^(bg: [^\n]*\n)*$/),
		isCode: true,
	});
	expect(firstObeyed(error)).toBeUndefined();
	if (isText) expect(firstObeyed(stdout)).toBeUndefined();
	else
		for (const line of stdout.split("\n"))
			if (line.startsWith("{")) JSON.parse(line);
}

const sample = <T>(arbitrary: fc.Arbitrary<T>, count: number) =>
	fc.sample(arbitrary, { numRuns: times(count), seed });

/** A failure names what repeats it. */
const blame = (error: unknown, what: string) =>
	new Error(`SEED=${seed}, ${what}`, { cause: error });

/** Does something with each sample, a few at once; a failure names the sample and the seed. */
async function withEach<T>(
	arbitrary: fc.Arbitrary<T>,
	numRuns: number,
	act: (value: T) => Promise<void>,
): Promise<void> {
	const left = sample(arbitrary, numRuns);
	let done = 0;
	const work = async () => {
		for (let next = left.shift(); next; next = left.shift())
			try {
				done++;
				await act(next);
			} catch (error) {
				const given = fc.stringify(next).slice(0, 2000);
				throw blame(error, `sample ${done}: ${given}`);
			}
	};
	await Promise.all([work(), work(), work()]);
}

const untilIdle = (box: Sandbox) =>
	until(
		() => box.alive().length === 0,
		"every task over",
		() => JSON.stringify(box.alive()),
	);

/** What waits by its nature, or is told elsewhere. */
const waiting = ["hook", "hook-complete", "watch"];

test("argv of any verb: an answer, or one line of what is wrong", async () => {
	const box = watched();
	const table = await Promise.all(
		Object.entries(verbs)
			.filter(([name]) => !waiting.includes(name))
			.map(async ([name, load]) => {
				const { args } = (await load()).default;
				const flags = ["help", ...Object.keys(args)];
				return { name, flags: flags.map((flag) => `--${flag}`) };
			}),
	);
	const call = fc.oneof(
		{ weight: 1, arbitrary: fc.array(word, { maxLength: 3 }) },
		{
			weight: 8,
			arbitrary: fc.constantFrom(...table).chain(({ name, flags }) =>
				fc
					.array(
						fc.oneof(
							fc.constantFrom(...flags),
							fc.constantFrom("@last", "--timeout=1s", ...box.ids),
							word,
						),
						{ maxLength: 5 },
					)
					// What is installed would be found among the bystanders.
					.map((rest) =>
						name === "install" ? [name, "--dry-run", ...rest] : [name, ...rest],
					),
			),
		},
	);
	const before = box.bystanders();
	await withEach(fc.tuple(call, fc.boolean()), 40, async ([argv, isText]) => {
		// A task may be told to follow what does not end: it ends at once here.
		const args = isText
			? [...argv.slice(0, 1), "--text", ...argv.slice(1)]
			: argv;
		const answer = await box.bg(args);
		const isRaw = args.some((each) => /^--(raw|format)/.test(each));
		expectSound(answer, (isText && !isRaw) || args.includes("--help"));
	});
	await untilIdle(box);
	expect(box.bystanders()).toEqual(before);
});

/** Calls every verb that shows something over a store, as text and as JSON. */
async function showAll(box: Watched, ids: readonly string[]): Promise<void> {
	const lists = [
		["list", "--all"],
		["list", "--all", "--full"],
		["list", "--all", "--format", "md"],
		["prune", "--dry-run"],
		["cleanup", "--dry-run", "--delete", "--older-than", "0s"],
	];
	const shown = ids.flatMap((id) => [
		["status", id],
		["output", id],
		["output", "--tail", "3", id],
	]);
	const env = { BG_SESSION_ID: parent, BG_TASK_ENV: "{" };
	for (const args of [...lists, ...shown])
		for (const form of ["--text", "--json"]) {
			const answer = await box.bg([...args, form], { env });
			const isMarkdown = args.includes("md");
			expectSound(answer, form === "--text" || isMarkdown);
			if (lists.includes(args)) expect(answer.code).toBe(0);
		}
}

/** Every verb that shows, stops or ends something, over records that may be anything. */
async function useRecords(box: Watched, ids: readonly string[]): Promise<void> {
	await showAll(box, ids.slice(0, 3));
	for (const args of [
		["cancel", ...ids.slice(0, 100)],
		["pause", ...ids.slice(100, 120)],
		["complete", ids[0] ?? "", "\x1b[2Jdone"],
		["wait", "--timeout", "1s", ...ids.slice(0, 50)],
		["retry", ids[1] ?? ""],
		["resume", ids[2] ?? "", "p"],
		["prune"],
		["cleanup"],
		["list"],
	])
		expectSound(await box.bg([...args, "--text"]), true);
	await untilIdle(box);
	for (const id of ids)
		expect(existsSync(recordFile({ dir: box.dir }, id))).toBe(true);
}

test("records of any bytes: those that can be read are shown, the rest is told, and none is lost", async () => {
	const box = watched();
	const values = sample(
		fc.record({
			record: bytes(
				fc.oneof(
					{ weight: 4, arbitrary: mutations({ id: "ID", ...fullRecord }) },
					mutations({ id: "ID", ...fullRecord, status: "queued" }),
					mutations({ id: "ID", ...oldRecord }),
					json,
				),
			),
			output: fc.array(streamLine, { maxLength: 5 }),
		}),
		300,
	);
	const ids = values.map(({ record, output }) => {
		const id = createTaskId();
		const path = recordFile({ dir: box.dir }, id);
		const body = Buffer.from(
			record.toString("latin1").replace('"ID"', `"${id}"`),
			"latin1",
		);
		writeFileSync(path, body, { mode: 0o600 });
		const out = path.replace(/json$/, "out");
		writeFileSync(out, output.join("\n"), { mode: 0o600 });
		return id;
	});
	const before = box.bystanders();
	await useRecords(box, ids).catch((error) => {
		throw blame(error, `records in the order of ${ids[0]}`);
	});
	expect(box.bystanders()).toEqual(before);
});

test("hook payloads: an answer that is JSON or none, and never a fault of the caller's", async () => {
	const box = watched();
	const events = [
		sessionStart(parent, { calling_session_id: "c" }),
		toolUse(parent),
		taskCall(parent, child),
		stopOf(parent, { last_assistant_message: "m", task_name: "t" }),
		payload("UserPromptSubmit", parent),
		payload("Stop", parent, { stop_hook_active: false }),
		sessionEnd(child),
	];
	const input = bytes(fc.oneof(...events.map(mutations), json));
	const verb = fc.constantFrom("hook", "hook", "hook-complete");
	const env = { BG_STOP: "wait" };
	const before = box.bystanders();
	await withEach(fc.tuple(verb, input), 30, async ([name, given]) => {
		expectHarmless(await box.bg([name], { input: given, env }));
	});
	const log = join(box.dir, ".hook.log");
	const faults = existsSync(log) ? readFileSync(log, "utf8") : "";
	expect(firstObeyed(faults)).toBeUndefined();
	for (const line of faults.split("\n")) expect(line.length).toBeLessThan(600);
	await showAll(box, []);
	expect(box.bystanders()).toEqual(before);
});

test("batch files and droid definitions: all is launched, or nothing", async () => {
	const box = watched();
	const before = box.bystanders();
	const folder = join(box.home, ".factory", "droids");
	mkdirSync(folder, { recursive: true });
	const line = mutations({
		description: "d",
		command: ["true", "$(touch canary/made)"],
		cwd: box.home,
		stdin: "/dev/null",
		after: [],
		env: { A: "`touch canary/made`" },
		tags: ["t"],
		timeout: "1h",
		priority: 1,
		unique: "k",
		on_end: ["true", "; touch canary/made"],
	});
	const lines = fc.array(fc.oneof({ weight: 3, arbitrary: line }, json), {
		minLength: 1,
		maxLength: 2,
	});
	const definition = fc
		.array(
			fc.tuple(
				fc.constantFrom("model: ", "tools: ", "reasoningEffort: ", ""),
				text,
			),
			{ maxLength: 4 },
		)
		.map((all) => `---\n${all.map((each) => each.join("")).join("\n")}\n---\n`);
	await withEach(fc.tuple(lines, definition), 12, async ([batch, front]) => {
		const droid = `d${createTaskId()}`;
		writeFileSync(join(folder, `${droid}.md`), front);
		const launched = await box.bg(["launch", "-q", "d", "p", droid]);
		expect(launched).toMatchObject({ code: 0 });
		expectSound(launched, true);
		rmSync(join(folder, `${droid}.md`));
		const args = ["launch", "--batch", "-", "--json"];
		const answer = await box.bg(args, { input: batch.join("\n") });
		expectSound(answer, false);
		if (answer.code !== 0) expect(answer.json().error).toContain("line");
	});
	await untilIdle(box);
	rmSync(join(box.home, ".factory"), { recursive: true });
	expect(box.bystanders()).toEqual(before);
});

test("variables of any text: an answer, or one line of what is wrong", async () => {
	const box = watched();
	const names = [
		"BG_DIR",
		"BG_DROID",
		"BG_MAX_RUNNING",
		"BG_MAX_PER_DROID",
		"BG_MAX_DEPTH",
		"BG_MAX_QUEUED",
		"BG_SESSION_ID",
		"BG_TASK_ID",
		"BG_TASK_ENV",
		"BG_DEPTH",
		"BG_STOP",
		"BG_SUPERVISOR",
		"HOME",
		"TERM",
		"NO_COLOR",
		"CLAUDE_ENV_FILE",
		"LC_ALL",
		"TZ",
		"COLUMNS",
	];
	// A relative path is one below the folder it is called in: that one is looked at as well.
	const value = word.filter(
		(each) => !each.startsWith("/") && !each.includes(".."),
	);
	const env = fc.dictionary(fc.constantFrom(...names), value, {
		minKeys: 1,
		maxKeys: 4,
	});
	const calls: [args: string[], options: CallOptions][] = [
		[["list", "--text"], {}],
		[["run", "--text", "d", "--", "true"], {}],
		[["wait", "--text", "--timeout", "5s"], {}],
		[["hook"], { input: JSON.stringify(sessionStart(parent)) }],
	];
	await withEach(
		fc.tuple(env, fc.constantFrom(...calls)),
		30,
		async ([given, [args, options]]) => {
			const cwd = join(box.home, createTaskId());
			mkdirSync(cwd);
			const answer = await box.bg(args, { ...options, cwd, env: given });
			if (args[0] === "hook") expectHarmless(answer);
			else expectSound(answer, true);
		},
	);
	await untilIdle(box);
	for (const dir of [box.home, join(box.dir, "..")]) {
		expect(readFileSync(join(dir, "canary", "file"), "utf8")).toBe("mine");
		expect(existsSync(join(dir, "canary", "made"))).toBe(false);
	}
});
