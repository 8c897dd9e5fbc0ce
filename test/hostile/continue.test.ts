import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	findNext,
	findPrevious,
} from "../../lib/store/sessions/session-index.ts";
import {
	type Answer,
	program,
	root,
	type Sandbox,
	sandbox,
} from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	endTask,
	noticeIn,
	parent,
	payload,
	send,
	sessionEnd,
	sessionStart,
	toolUse,
} from "../tools/hooks.ts";

const second = "11111111-d63d-4cfd-b5bf-8ec4ad278e06";

const compaction = sessionStart(second, {
	source: "compact",
	previous_session_id: parent,
});
const fork = sessionStart(second, {
	source: "resume",
	previous_session_id: parent,
});
const stop = payload("Stop", second, { stop_hook_active: false });
const load = sessionStart(parent, { source: "resume" });

const crash = ["bun", join(root, "test", "chaos", "crash.mjs")];

/** Sends a payload to a hook that dies (`CHAOS_CRASH`) or sleeps (`CHAOS_NAP`) after one of its steps. */
const sendTo = (
	box: Sandbox,
	input: unknown,
	point: Record<string, string>,
): Promise<Answer> =>
	send(box, input, {
		argv: crash,
		env: {
			CHAOS_PROGRAM: join(root, "bg.ts"),
			CHAOS_LOG: join(box.home, "crashes"),
			...point,
		},
	});

/** The ids that answers of hooks name, in order. */
const idsIn = (answers: readonly Answer[], event = "PostToolUse") =>
	answers
		.flatMap((answer) =>
			[...(noticeIn(answer, event) ?? "").matchAll(/^- (bg_\w+) "/gm)].map(
				([, id = ""]) => id,
			),
		)
		.sort();

const namesIn = (box: Sandbox, folder: string): string[] => {
	const path = join(box.dir, folder);
	return existsSync(path) ? readdirSync(path) : [];
};

/**
 * Calls back with 1, 2, … until there is no such step; four calls at a time.
 * @param run Returns whether the process had that step.
 */
async function forEachStep(
	run: (box: Sandbox, step: number) => Promise<boolean>,
): Promise<void> {
	for (let step = 1; ; step += 4) {
		const steps = [step, step + 1, step + 2, step + 3];
		const hadStep = await Promise.all(steps.map((n) => run(sandbox(), n)));
		if (hadStep.includes(false)) {
			// It did die or wait after each step before.
			expect(step + hadStep.indexOf(false)).toBeGreaterThan(5);
			return;
		}
	}
}

/** A script of this test that uses the program's own functions. */
function script(box: Sandbox, name: string, body: string): string {
	const path = join(box.home, `${name}.ts`);
	const lib = (file: string) => JSON.stringify(join(root, "lib", file));
	writeFileSync(
		path,
		`import { createTask, updateTask } from ${lib("store/records.ts")};
		import { finishTask } from ${lib("task/states.ts")};
		const store = { dir: process.env.BG_DIR };
		const end = (id) => updateTask(store, id, (task) =>
			finishTask(task, { reason: "manual", at: new Date().toISOString(), facts: {} }));
		${body}`,
	);
	return path;
}

/** A shell command that sends a payload to a hook. Its answer is appended to `answers`. */
const hookCommand = (box: Sandbox, input: unknown) =>
	`printf %s '${JSON.stringify(input)}' | ${program.join(" ")} hook >> ${box.home}/answers`;

/** The ids that the hooks of a hookCommand named. */
function idsMeanwhile(box: Sandbox): string[] {
	const path = join(box.home, "answers");
	const text = existsSync(path) ? readFileSync(path, "utf8") : "";
	return [...text.matchAll(/\\n- (bg_\w+) /g)].map(([, id = ""]) => id);
}

const hasLog = (box: Sandbox) => existsSync(join(box.home, "crashes"));

/** What a hook may leave once all is told. */
function expectTidy(box: Sandbox): void {
	expect(namesIn(box, ".due")).toEqual([]);
	for (const session of namesIn(box, ".notices"))
		expect([session, namesIn(box, `.notices/${session}`)]).toEqual([
			session,
			[],
		]);
}

test.each([
	["a compaction", compaction],
	["a fork", fork],
	["a loaded predecessor", load],
])(
	"%s that was killed at any step is completed by the next hooks, and told once",
	async (_, start) => {
		const session = start === load ? parent : second;
		await forEachStep(async (box, step) => {
			if (start === load) await send(box, compaction);
			const awaited = addTask(box, { parent_session_id: parent });
			const due = addEnd(box, parent);
			const killed = await sendTo(box, start, { CHAOS_CRASH: `verb:${step}` });
			const store = { dir: box.dir };
			const isPlanned =
				start === load
					? findNext(store, parent) === undefined
					: findPrevious(store, second) !== undefined;
			const isNoted = namesIn(box, `.notices/${session}`).some((each) =>
				/^\.(compact|compress|fork|revive)\./.test(each),
			);
			endTask(box, awaited);
			const answers: Answer[] = [];
			// Without a trace of the continuation only the next start can know of it.
			const starts: Answer[] = [];
			if (!isPlanned && !isNoted) starts.push(await send(box, start));
			await send(box, { ...stop, session_id: session });
			for (let n = 0; n < 2; n++)
				answers.push(await send(box, toolUse(session)));
			const told = [
				...idsIn(answers),
				...idsIn(starts, "SessionStart"),
				...(killed.stdout.match(/- bg_\w+/g) ?? []).map((each) =>
					each.slice(2),
				),
			].sort();
			// It may die after it printed.
			const once =
				killed.code !== 0 && killed.stdout ? [...new Set(told)] : told;
			expect([step, once]).toEqual([step, [awaited, due].sort()]);
			if (start !== compaction) {
				const another = start === load ? second : parent;
				const others = [await send(box, toolUse(another))];
				expect([step, idsIn(others)]).toEqual([step, [awaited, due].sort()]);
			}
			expectTidy(box);
			return killed.code !== 0;
		});
	},
);

test.each([
	["a compaction", compaction],
	["a fork", fork],
])(
	"an end, another hook and the old id's SessionEnd at any step of %s are told once",
	async (_, start) => {
		await forEachStep(async (box, step) => {
			const awaited = addTask(box, { parent_session_id: parent });
			const due = addEnd(box, parent);
			const ending = script(box, "end", `end(${JSON.stringify(awaited)});`);
			const meanwhile = [
				`bun ${ending}`,
				// A second hook for the same event.
				hookCommand(box, start),
				hookCommand(box, toolUse(second)),
				...(start === compaction ? [hookCommand(box, sessionEnd(parent))] : []),
			].join(";");
			const started = await sendTo(box, start, {
				CHAOS_MEANWHILE: `verb:${step}:${meanwhile}`,
			});
			if (!hasLog(box)) endTask(box, awaited);
			const later = [await send(box, toolUse(second))];
			const told = [
				...idsIn([started], "SessionStart"),
				...idsIn(later),
				...idsMeanwhile(box),
			].sort();
			expect([step, told]).toEqual([step, [awaited, due].sort()]);
			if (start === fork) {
				const others = [await send(box, toolUse(parent))];
				expect([step, idsIn(others)]).toEqual([step, [awaited, due].sort()]);
			}
			expectTidy(box);
			return hasLog(box);
		});
	},
	240_000,
);

test.each([
	["a compaction", compaction],
	["a fork", fork],
])(
	"%s at any step of a launch and of an end loses nothing",
	async (_, start) => {
		for (const action of ["launch", "end"])
			await forEachStep(async (box, step) => {
				const id = addTask(box, { parent_session_id: parent });
				const record = JSON.stringify({
					...box.record(id),
					id: `${id.slice(0, -1)}${id.endsWith("0") ? "1" : "0"}`,
				});
				const launched = JSON.parse(record).id;
				const path = script(
					box,
					action,
					action === "end"
						? `end(${JSON.stringify(id)});`
						: `createTask(store, ${record});`,
				);
				await box.bg([], {
					argv: crash,
					env: {
						CHAOS_PROGRAM: path,
						CHAOS_LOG: join(box.home, "crashes"),
						CHAOS_MEANWHILE: `verb:${step}:${hookCommand(box, start)}`,
					},
				});
				if (!hasLog(box)) return false;
				const ids = action === "end" ? [id] : [id, launched];
				if (action === "launch") for (const each of ids) endTask(box, each);
				const told = [
					...idsMeanwhile(box),
					...idsIn([await send(box, toolUse(second))]),
				].sort();
				const toldOld = idsIn([await send(box, toolUse(parent))]);
				if (start === compaction)
					expect([step, told, toldOld]).toEqual([step, ids.sort(), []]);
				else {
					expect([step, toldOld]).toEqual([step, ids.sort()]);
					// A task that is launched while the session forks may be of both.
					expect(told).toContain(id);
				}
				expectTidy(box);
				return true;
			});
	},
	240_000,
);

test("a compaction at any step of a hook that tells takes nothing from it", async () => {
	await forEachStep(async (box, step) => {
		const ids = [addEnd(box, parent), addEnd(box, parent)];
		const told = await sendTo(box, toolUse(parent), {
			CHAOS_MEANWHILE: `verb:${step}:${hookCommand(box, compaction)}`,
		});
		if (!hasLog(box)) return false;
		const all = [
			...idsIn([told]),
			...idsMeanwhile(box),
			...idsIn([await send(box, toolUse(second))]),
		].sort();
		expect([step, all]).toEqual([step, ids.sort()]);
		expectTidy(box);
		return true;
	});
});
