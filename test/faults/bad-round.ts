/**
 * One round of a bad day: about a hundred tasks are launched, waited for and cancelled, while their disk becomes
 * read-only, fills up, loses its permissions or one of the store's folders. Then the disk is well again, all comes
 * to rest without another call, and the verdict of the chaos test judges.
 *
 * What is expected: each task that a launch announced has one true end, whatever happened to the store, and those
 * words of its output that the disk took. What only a removed folder held is gone: notices, keys, the mark of an
 * --on-end, a prompt. The claims of running tasks are not restored: after `.slots` was removed, the limit holds for
 * the tasks that start afterwards. All is at rest 90 s after the last event at most.
 */
import {
	appendFileSync,
	chownSync,
	cpSync,
	mkdtempSync,
	readdirSync,
	realpathSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Status } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";
import { type Announced, type Asked, askFor } from "../chaos/calls.ts";
import {
	type Action,
	type Call,
	Dice,
	planTask,
	sessions,
	subagentOf,
	type TaskPlan,
} from "../chaos/plan.ts";
import {
	comeToRest,
	environmentOf,
	makeCall,
	tasksOf,
} from "../chaos/round.ts";
import {
	type Called,
	findRecords,
	isFault,
	judgeRound,
	tasksIn,
} from "../chaos/verdict.ts";
import { Watch } from "../chaos/watch.ts";
import { linesOf, root } from "../tools/harness.ts";
import { type BadEvent, BadEvents } from "./bad-events.ts";
import { Disk } from "./disk.ts";

export type BadRound = {
	tasks: number;
	events: BadEvent[];
	/** How many attempts were told that the disk is full. */
	unwritten: number;
	/** Calls that were refused, and all. */
	refused: number;
	calls: number;
	/** From the last repair until no process was left, in s. */
	recovery: number;
	problems: string[];
};

/** Root's permissions do not end: all of bg runs as this user. */
const uid = 65534;
const user = [
	"setpriv",
	...[`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"],
];

const maxRunning = 3;

/** How many tasks a round begins with. */
const firstTasks = 40;

/** How often a call is made, in ms, and how many are made at once. */
const callMs = 1000;
const maxCalls = 8;

/** The share of each verb among all calls. */
const shares = {
	run: 48,
	batch: 6,
	launch: 8,
	hook: 10,
	wait: 9,
	cancel: 5,
	status: 3,
	output: 3,
	list: 4,
	prune: 2,
	pause: 1,
	unpause: 2,
};

/**
 * Plays one round on a disk of its own; what is left of it is kept if there are violations.
 * @param fire how long calls and events go on, in ms.
 */
export async function playBadRound(
	seed: number,
	fire: number,
): Promise<BadRound> {
	const base = realpathSync(mkdtempSync(join(tmpdir(), "bg-bad-day-")));
	const disk = new Disk(join(base, "disk"), uid);
	const dir = join(disk.dir, "store");
	const log = join(base, "log");
	const env: Record<string, string> = {
		...environmentOf(base, dir, join(base, "crashes")),
		BG_MAX_RUNNING: String(maxRunning),
		// Small, so that tasks are archived.
		BG_KEEP: "30",
	};
	writeFileSync(log, "");
	for (const name of ["", ...readdirSync(base, { recursive: true })])
		if (name !== "disk") chownSync(join(base, String(name)), uid, uid);
	const watch = new Watch(dir, maxRunning);
	const events = new BadEvents(seed, disk, dir, watch);
	const calls: Called[] = [];
	const announced: Announced[] = [];
	const plans = new Map<string, TaskPlan>();
	const place = { program: join(root, "dist", "bg"), log, dir };

	const act = async (call: Call, asked?: Asked, clock?: string) => {
		for (const task of tasksOf(call)) plans.set(task.name, task);
		const action: Action = { at: 0, form: clock ? "bun" : "executable", call };
		const called = await makeCall(
			action,
			asked ?? askFor(call, announced, place),
			{ ...env, ...(clock && { CHAOS_CLOCK: clock }) },
			user,
		);
		calls.push(called);
		if (tasksOf(call).length && called.code === 0)
			for (const { taskId, sessionId, description } of tasksIn(called)) {
				const plan = plans.get(description);
				const session = plan?.session ?? "";
				announced.push({ id: taskId, own: sessionId, session, plan });
			}
		if (isFault(called)) watch.problems.add(JSON.stringify(called));
	};

	let problems: string[] = [];
	const sampler = setInterval(() => watch.sample(), 100);
	try {
		await Promise.all([events.go(fire), makeCalls(seed, fire, act)]);
		const all = { argv: ["unpause", "--all"], about: [] };
		await act({ verb: "release" }, all);
		const end = performance.now();
		await comeToRest(watch);
		const recovery = (performance.now() - end) / 1000;

		// With its clock an hour ahead: what a process could not remove then counts as garbage.
		await act({ verb: "prune" }, undefined, "3600000");
		await comeToRest(watch);
		for (const session of sessions.flatMap((one) => [one, subagentOf(one)]))
			do await act({ verb: "hook", event: "SessionStart", session });
			while (calls.at(-1)?.stdout);
		watch.sample();
		const seen = watch.report(log);
		const { known } = watch;
		const { removed, told } = events;
		const isFaulty = true;
		const round = {
			dir,
			plans,
			calls,
			seen,
			known,
			maxRunning,
			isFaulty,
			removed,
		};
		problems = [...watch.problems, ...judgeRound(round), ...judgeWords(round)];
		const isUnwritten = (line: string) => line.startsWith("unwritten");
		return {
			tasks: known.size,
			events: told,
			unwritten: linesOf(log).filter(isUnwritten).length,
			refused: calls.filter(({ code }) => code === 111).length,
			calls: calls.length,
			recovery,
			problems,
		};
	} finally {
		clearInterval(sampler);
		events.heal();
		watch.killAll();
		if (problems.length) {
			cpSync(dir, join(base, "store"), { recursive: true });
			for (const each of [...events.told, ...calls])
				appendFileSync(join(base, "trail"), `${JSON.stringify(each)}\n`);
			console.log(`\nviolated, seed ${seed}, kept in ${base}:`);
			for (const problem of problems) console.log(`- ${problem}`);
		}
		disk.remove();
		if (problems.length === 0) rmSync(base, { recursive: true });
	}
}

// --- internal ---

/** Makes calls at random, several at once. */
async function makeCalls(
	seed: number,
	fire: number,
	act: (call: Call) => Promise<void>,
): Promise<void> {
	const dice = new Dice(seed);
	const begin = performance.now();
	const going = new Set<Promise<void>>();
	let count = 0;
	const name = () => `task ${seed}.${count++}`;
	for (let at = 0; at < fire; at += callMs) {
		await Bun.sleep(Math.max(0, at - (performance.now() - begin)));
		while (going.size >= maxCalls) await Promise.race(going);
		const verb = dice.weigh<keyof typeof shares>(shares);
		const planned = at ? planCall(dice, verb, name) : planBatch(dice, name);
		const call = act(planned).finally(() => going.delete(call));
		going.add(call);
	}
	await Promise.all(going);
}

/** The first launch of a round: many tasks that wait for places. */
function planBatch(dice: Dice, name: () => string): Call {
	const plan = () => {
		const task = planTask(dice, "run", name());
		return { ...task, seconds: task.seconds + dice.below(3) };
	};
	// The others wait for the first, which completes.
	const { timeout: _, unique: __, ...first } = plan();
	const others = Array.from({ length: firstTasks - 1 }, plan);
	const task: TaskPlan = { ...first, kind: "command", code: 0, seconds: 1 };
	return { verb: "batch", tasks: [task, ...others] };
}

function planCall(
	dice: Dice,
	verb: keyof typeof shares,
	name: () => string,
): Call {
	switch (verb) {
		case "run":
		case "launch": {
			const task = planTask(dice, verb, name());
			return { verb, task: { ...task, seconds: task.seconds + dice.below(3) } };
		}
		case "batch": {
			const tasks = [0, 1, 2].map(() => planTask(dice, "run", name()));
			return { verb, tasks };
		}
		case "hook":
			return { verb, event: "PostToolUse", session: dice.pick(sessions) };
		case "wait":
		case "cancel":
		case "status":
		case "output":
			return { verb, of: [dice.any()], any: false, collects: true };
		case "pause":
		case "unpause":
			return { verb, of: dice.any() };
		default:
			return { verb };
	}
}

/** What an answer said of an end is what the record says in the end. */
function* judgeWords({
	dir,
	calls,
}: Pick<Parameters<typeof judgeRound>[0], "dir" | "calls">): Generator<string> {
	const records = findRecords(dir);
	for (const { argv, code, stdout } of calls) {
		const verb = argv[0] ?? "";
		if (!/^(wait|status|list|cancel|prune|output)$/.test(verb)) continue;
		let answer: { tasks?: Said[] } & Said;
		try {
			answer = JSON.parse(stdout);
		} catch {
			if (code === 0 && verb !== "output")
				yield `${argv.join(" ")} answered 0 and no JSON: ${stdout}`;
			continue;
		}
		for (const { id = "", status = "queued" } of answer.tasks ?? [answer]) {
			const task = records.get(id);
			if (!task || !isFinal({ status }) || task.attempts?.length) continue;
			if (task.status !== status)
				yield `${argv.join(" ")} said ${status} of ${id}, which is ${task.status}: ${stdout}`;
		}
	}
}

type Said = { id?: string; status?: Status };
