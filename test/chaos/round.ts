/**
 * Plays one round of the chaos test: makes the calls of a plan, kills what it says, lets everything come to
 * rest without another call, and compares.
 */
import {
	appendFileSync,
	mkdirSync,
	mkdtempSync,
	realpathSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { runtimeFlags } from "../../lib/process/executables.ts";
import { findTask, listArchivedIds } from "../../lib/store/records.ts";
import { isFinal } from "../../lib/task/states.ts";
import { linesOf } from "../tools/harness.ts";
import { type Announced, type Asked, askFor } from "./calls.ts";
import {
	type Action,
	type Call,
	type Form,
	type Plan,
	scripts,
	sessions,
	subagentOf,
	type TaskPlan,
} from "./plan.ts";
import {
	type Called,
	deletedBy,
	isFault,
	judgeRound,
	tasksIn,
} from "./verdict.ts";
import { type Death, Watch, type Watched } from "./watch.ts";

const root = join(import.meta.dir, "..", "..");
const crash = join(import.meta.dir, "crash.mjs");
const executable = join(root, "dist", "bg");

/** How many calls are made at once. More would only wait for the processor. */
const maxCalls = 8;

/** How long every process may take to exit after the last call, in ms. */
const restTimeoutMs = 180_000;

/** How long after the last call a supervisor may still die at its crash point, in ms. */
const lateCrashMs = 2000;

/** How long calls may take before paused tasks are continued, in ms: a call inside of one is paused with it. */
const heldCallMs = 60_000;

/** Ends every pause and limit. */
const releases = [
	["limit", "running", "default"],
	["unpause", "--queue"],
	["unpause", "--all"],
];

export type Result = {
	tasks: number;
	deaths: Death[];
	/** The kinds of the processes that were stopped for a while. */
	stops: string[];
	/** How many tasks are in the archive, and were deleted. */
	archived: number;
	deleted: number;
	/** From the last crash until no process is left, in s. */
	recovery: number;
	/** The longest time for which a place was free and a task waited for it, in ms. */
	gap: number;
	problems: string[];
};

/**
 * Plays one round in its own folder, which is kept if there are violations.
 * @param former the executable of an older bg, for a plan that calls one.
 */
export async function playRound(plan: Plan, former?: string): Promise<Result> {
	const { seed } = plan;
	const base = realpathSync(mkdtempSync(join(tmpdir(), "bg-chaos-")));
	const dir = join(base, "store");
	const place = { program: executable, log: join(base, "log"), dir };
	const crashes = join(base, "crashes");
	const fire = join(base, "fire");
	writeFileSync(fire, "");
	const env: Record<string, string> = {
		...environmentOf(base, dir, crashes),
		CHAOS_FIRE: fire,
		CHAOS_FORMER: former ?? "",
		BG_MAX_RUNNING: String(plan.maxRunning),
		// Small, so that tasks are archived.
		BG_KEEP: "5",
	};
	const watch = new Watch(dir, plan.maxRunning);
	const calls: Called[] = [];
	const announced: Announced[] = [];
	const plans = new Map<string, TaskPlan>();

	const act = async (
		action: Action,
		more: Record<string, string> = {},
		given?: Asked,
	) => {
		const { call } = action;
		for (const task of tasksOf(call)) plans.set(task.name, task);
		const asked = given ?? askFor(call, announced, place);
		const called = await makeCall(action, asked, { ...env, ...more });
		calls.push(called);
		if (called.killed && !action.crash && !action.archiveCrash)
			watch.deaths.push({ kind: kindOf(call.verb), ids: [] });
		if (tasksOf(call).length || /^(retry|resume)$/.test(call.verb))
			for (const { taskId, sessionId, description } of tasksIn(called)) {
				const plan = plans.get(description);
				const session = plan?.session ?? "";
				announced.push({ id: taskId, own: sessionId, session, plan });
			}
		if (isFault(called)) watch.problems.add(JSON.stringify(called));
	};

	const begin = performance.now();
	const passed = () => performance.now() - begin;
	const stopSampling = sampleOften(watch);
	const going = new Set<Promise<void>>();
	const killing = new Set<Promise<void>>();
	for (const each of [...plan.actions, ...plan.kills].sort(
		(a, b) => a.at - b.at,
	)) {
		await Bun.sleep(Math.max(0, each.at - passed()));
		if ("target" in each) {
			const kill = watch.kill(each).finally(() => killing.delete(kill));
			killing.add(kill);
			continue;
		}
		while (going.size >= maxCalls) await Promise.race(going);
		const call = act(each).finally(() => going.delete(call));
		going.add(call);
	}
	const release = async () => {
		for (const argv of releases) {
			const released = await makeCall(
				{ at: passed(), form: "executable", call: { verb: "release" } },
				{ argv, about: [] },
				env,
			);
			if (isFault(released)) watch.problems.add(JSON.stringify(released));
		}
	};
	await Promise.all(killing);
	const over = () => Promise.all(going).then(() => true);
	while (!(await Promise.race([over(), Bun.sleep(heldCallMs)])))
		await release();
	await Bun.sleep(lateCrashMs);
	rmSync(fire);
	await release();

	// Inputs end.
	for (const { id, plan } of announced) {
		const task = findTask({ dir }, id);
		if (plan?.kind !== "reader" || !task || isFinal(task)) continue;
		const text = `last input of ${id}`;
		const call = { verb: "feed", of: 0, text, ends: true } as const;
		const argv = ["send", "--eof", id, text];
		const action: Action = { at: passed(), form: "executable", call };
		await act(action, {}, { argv, about: [id] });
	}

	const end = performance.now();
	const unwatched = linesOf(crashes).map(deathOf).concat(watch.deaths);
	const idsOfUnwatched = unwatched.flatMap(({ kind, ids }) =>
		kind === "supervisor" ? ids : [],
	);
	await comeToRest(watch, new Set(idsOfUnwatched));
	const recovery = (performance.now() - end) / 1000;

	// With its clock an hour ahead: leftovers of a killed launch then count as garbage.
	const at = passed();
	const form = scripts[seed % scripts.length] as Form;
	const later = { CHAOS_CLOCK: "3600000" };
	await act({ at, form, call: { verb: "prune" } }, later);
	await comeToRest(watch);

	// Every session starts again until it has got all its notices.
	for (const session of sessions.flatMap((each) => [each, subagentOf(each)])) {
		const call = { verb: "hook", event: "SessionStart", session } as const;
		do await act({ at, form: "executable", call });
		while (calls.at(-1)?.stdout);
	}
	// A note is told at the next call of a tool.
	for (const session of sessions.flatMap((each) => [each, subagentOf(each)])) {
		const call = { verb: "hook", event: "PostToolUse", session } as const;
		do await act({ at, form: "executable", call });
		while (calls.at(-1)?.stdout);
	}
	stopSampling();
	watch.sample();
	for (const line of linesOf(crashes)) watch.deaths.push(deathOf(line));
	const seen = watch.report(place.log);
	const known = watch.known;
	const { maxRunning } = plan;
	const archived = listArchivedIds({ dir }).length;
	const problems = [
		...watch.problems,
		...judgeRound({ dir, plans, calls, seen, known, maxRunning }),
	];
	if (problems.length === 0) rmSync(base, { recursive: true });
	else {
		console.log(`\nviolated, seed ${seed}, kept in ${base}:`);
		for (const problem of problems) console.log(`- ${problem}`);
		for (const each of [...calls, ...watch.deaths])
			appendFileSync(join(base, "trail"), `${JSON.stringify(each)}\n`);
		console.log(`every call and every kill is in ${base}/trail\n`);
	}
	const { deaths, stops, gap } = watch;
	const tasks = known.size;
	const deleted = deletedBy(calls).size;
	return { tasks, deaths, stops, archived, deleted, recovery, gap, problems };
}

/** The environment of every call, with a home of its own. */
export function environmentOf(
	base: string,
	dir: string,
	crashes: string,
): Record<string, string> {
	const home = join(base, "home");
	mkdirSync(join(home, ".factory"), { recursive: true });
	// Messages are sent only if droid has hooks of bg.
	const hooks = [{ hooks: [{ type: "command", command: "/x/bg hook" }] }];
	const text = JSON.stringify({ PostToolUse: hooks });
	writeFileSync(join(home, ".factory", "hooks.json"), text);
	const bin = join(root, "node_modules", ".bin");
	return {
		PATH: `${bin}${delimiter}${process.env.PATH}`,
		HOME: home,
		BG_DIR: dir,
		BG_DROID: join(import.meta.dir, "..", "tools", "stand-in.ts"),
		CHAOS_PROGRAM: join(root, "dist", "bg.mjs"),
		CHAOS_LOG: crashes,
	};
}

/** The command of a form; `former` is that of an older bg. */
export function commandOf(form: Form, former = ""): string[] {
	if (form === "executable") return [executable];
	if (form === "former") return [former];
	return [form, ...runtimeFlags[form], crash];
}

// --- internal ---

/** The tasks that a call launches. */
export const tasksOf = (call: Call): TaskPlan[] =>
	"task" in call ? [call.task] : "tasks" in call ? call.tasks : [];

/** Samples every 50 ms, and on a machine with many processes for a tenth of the time. */
function sampleOften(watch: Watch): () => void {
	let timer: NodeJS.Timeout;
	const sample = () => {
		const from = performance.now();
		watch.sample();
		const took = performance.now() - from;
		timer = setTimeout(sample, Math.max(50, 9 * took));
	};
	sample();
	return () => clearTimeout(timer);
}

function kindOf(verb: string): Death["kind"] {
	if (/^(run|launch|batch)$/.test(verb)) return "launcher";
	return /^(hook|subagent|deliver)/.test(verb) ? "hook" : "verb";
}

/** Makes one call, kills it if planned, and returns its outcome. `prefix` is an argv that runs it. */
export async function makeCall(
	action: Action,
	{ argv, input, about, session, inside }: Asked,
	env: Record<string, string>,
	prefix: readonly string[] = [],
): Promise<Called> {
	const { form, crash, superviseCrash, nap, superviseNap, killAfter } = action;
	const { archiveCrash = 0 } = action;
	const isHook = /^hook/.test(argv[0] ?? "");
	const from = performance.now();
	const command = [...prefix, ...commandOf(form, env.CHAOS_FORMER), ...argv];
	const child = Bun.spawn(command, {
		cwd: env.HOME ?? "/",
		env: {
			...env,
			...(session && !isHook && { BG_SESSION_ID: session }),
			...(inside && { BG_TASK_ID: inside }),
			CHAOS_CRASH: `verb:${crash ?? 0},supervise:${superviseCrash ?? 0},archive:${archiveCrash}`,
			CHAOS_NAP: `verb:${nap ?? 0},supervise:${superviseNap ?? 0}`,
		},
		stdin: input === undefined ? "ignore" : Buffer.from(input),
		stdout: "pipe",
		stderr: "pipe",
	});
	const killer =
		killAfter !== undefined &&
		setTimeout(() => child.kill("SIGKILL"), killAfter);
	const [stdout, stderr] = await Promise.all([
		new Response(child.stdout).text(),
		new Response(child.stderr).text(),
	]);
	await child.exited;
	if (killer) clearTimeout(killer);
	// A task is stopped with all that runs inside it.
	const killed = child.signalCode === "SIGKILL" || (inside && child.signalCode);
	const to = performance.now();
	const { exitCode: code } = child;
	const times = { from, to };
	return {
		action,
		argv,
		about,
		session,
		killed: Boolean(killed),
		code,
		stdout,
		stderr,
		times,
	};
}

/** A death at a crash point, from the line that the process wrote before. */
function deathOf(line: string): Death {
	const { role, argv, step, number, isMove } = JSON.parse(line);
	const isSupervisor = role === "supervise";
	return {
		kind: isSupervisor ? "supervisor" : kindOf(argv[0]),
		ids: isSupervisor ? argv.filter((each: string) => /^bg_/.test(each)) : [],
		point: `${isSupervisor ? role : argv[0]} ${step} ${number}`,
		isArchiving: isMove,
	};
}

/**
 * Waits until no process of the round is left but keepers of tasks that may have none.
 * @param unwatched tasks whose supervisor was killed: their keeper stays until a call records their end.
 */
export async function comeToRest(
	watch: Watch,
	unwatched = new Set<string>(),
): Promise<void> {
	const mayStay = ({ kind, isOrphanedSleep, ids }: Watched) =>
		isOrphanedSleep || (kind === "keeper" && unwatched.has(ids[0] ?? ""));
	const deadline = performance.now() + restTimeoutMs;
	for (;;) {
		const left = watch.processes().filter((each) => !mayStay(each));
		if (left.length === 0)
			return watch.killAll(({ isOrphanedSleep }) => isOrphanedSleep);
		if (performance.now() > deadline) {
			const seen = JSON.stringify(left);
			watch.problems.add(`alive after ${restTimeoutMs} ms: ${seen}`);
			watch.killAll();
		}
		await Bun.sleep(50);
	}
}
