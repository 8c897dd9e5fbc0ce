/**
 * Plans one round of the chaos test from a seed: which calls are made when, in which form, with which
 * arguments, and how they die. The same seed makes the same plan; its outcome also depends on the
 * machine.
 */

/** The forms of the program; a crash point needs one that is a script. */
export const scripts = ["bun", "deno", "node"] as const;
/** `former`: the executable of an older bg. */
export type Form = (typeof scripts)[number] | "executable" | "former";

export const sessions = ["first", "second", "third", "fourth"] as const;
export type Session = (typeof sessions)[number];

/** The session of a subagent. Tasks are launched from it as well. */
export const subagentOf = (session: Session) => `${session}-sub`;

/** A planned task. Its name is the description of its record. */
export type TaskPlan = {
	name: string;
	/** A reader keeps its standard input open (`--stdin keep`) and logs what it reads. */
	kind: "command" | "nested" | "reader" | "droid" | "missing";
	session: string;
	/** Its duration, in s, and its exit code. */
	seconds: number;
	code: number;
	retries: number;
	timeout?: string;
	/** Tasks announced before it, as numbers of any size. */
	after: number[];
	afterAny: boolean;
	unique?: string;
	onEnd: boolean;
	priority: number;
	byFile: boolean;
};

export const events = [
	"PostToolUse",
	"UserPromptSubmit",
	"SessionStart",
	"Stop",
] as const;

/** A call. `of` chooses among the tasks announced before it. */
export type Call =
	| { verb: "run" | "launch"; task: TaskPlan }
	| { verb: "batch"; tasks: TaskPlan[] }
	| { verb: "hook"; event: (typeof events)[number]; session: string }
	| { verb: "subagent"; event: Subagents; session: Session }
	| { verb: "hook-complete" | "complete" | Changes; of: number }
	/** The queue is paused and continued; its limit is set to one that does not exceed the launches' own. */
	| { verb: "hold" | "release" }
	| { verb: "limit"; running: number | "default" }
	/** To a droid's task, and a note of a task. `text` is sent by no other call. */
	| { verb: "send" | "note"; of: number; text: string; waits: boolean }
	/** Input of a reader. `text` is sent by no other call; `ends`: it is the last input. */
	| { verb: "feed"; of: number; text: string; ends: boolean }
	/** A hook of a droid's task. */
	| { verb: "deliver"; of: number; event: "PostToolUse" | "Stop" }
	/** `collects`: for the session that launched the first of them. */
	| {
			verb: "wait" | "cancel" | "status" | "output";
			of: number[];
			any: boolean;
			collects: boolean;
	  }
	| { verb: "list" | "prune" | "cleanup" | "delete" };

/** Calls that change one task, or launch it again. */
type Changes = "pause" | "unpause" | "edit" | "retry" | "resume";

type Subagents = "launched" | "SessionStart" | "SubagentStop" | "SessionEnd";

export type Action = {
	/** In ms from the start of the round. */
	at: number;
	form: Form;
	call: Call;
	/** The step after which it dies, and that of the supervisor it starts. */
	crash?: number;
	superviseCrash?: number;
	/** The move to the archive after which either dies. */
	archiveCrash?: number;
	/** The step after which it sleeps, and that of the supervisor it starts. */
	nap?: number;
	superviseNap?: number;
	/** When it is killed, in ms after its start. */
	killAfter?: number;
};

/**
 * `parked`: a shell that waits. `waiting`: such a shell, or a supervisor none of whose tasks runs; it is
 * stopped for a while (SIGSTOP), as is sometimes another. `running`: all supervisors that run a task, at once. `line`: those and the
 * first in line. `any`: any process of bg, of a task or of a call.
 */
export type Target =
	| "supervisor"
	| "task"
	| "parked"
	| "waiting"
	| "running"
	| "line"
	| "any";
export type Kill = {
	at: number;
	target: Target;
	signal: NodeJS.Signals;
	/** How long a stopped process stays stopped, in ms. */
	stopMs: number;
	/** Chooses among the targets alive then. */
	choice: number;
};
export type Plan = {
	seed: number;
	/** How long calls and kills go on, in ms. */
	fire: number;
	actions: Action[];
	kills: Kill[];
	/** How many tasks may run at once at a depth. */
	maxRunning: number;
};

/** How long calls and kills go on in a round, in ms. */
const fire = 4000;

/** How long a process may be stopped, in ms: also for longer than a verb waits for a lock. */
const stopsMs = [100, 1500, 1500, 3000] as const;

const actionsOfRound = 60;
const killsOfRound = 12;

/** About how many steps each verb takes. A crash point is one of them. */
const stepsOf: Record<Call["verb"], number> = {
	run: 18,
	launch: 22,
	batch: 40,
	hook: 8,
	subagent: 30,
	"hook-complete": 20,
	complete: 20,
	pause: 16,
	unpause: 16,
	edit: 12,
	retry: 18,
	resume: 22,
	hold: 4,
	release: 8,
	limit: 10,
	send: 24,
	note: 24,
	feed: 10,
	deliver: 20,
	wait: 12,
	status: 8,
	output: 8,
	cancel: 24,
	list: 2,
	prune: 40,
	cleanup: 60,
	delete: 60,
};
const stepsOfSupervisor = 70;
const movesOfCall = 6;

/** The share of each form among all calls. Deno and Node take four times as much processor time as the executable. */
const scriptShares = { bun: 3, deno: 1, node: 1 };

/** The share of each verb among all calls. */
const shares: Record<Call["verb"], number> = {
	run: 16,
	launch: 5,
	batch: 2,
	hook: 11,
	subagent: 4,
	"hook-complete": 1,
	complete: 1,
	pause: 2,
	unpause: 3,
	edit: 1,
	retry: 2,
	resume: 1,
	hold: 0.5,
	release: 1,
	limit: 1,
	send: 7,
	note: 3,
	feed: 5,
	deliver: 9,
	wait: 5,
	status: 2,
	output: 2,
	cancel: 2,
	list: 2,
	prune: 2,
	cleanup: 1,
	delete: 1.5,
};

/** In every third round many single launches wait for few places. */
const crowd = { run: 100, maxRunning: 2, moreSeconds: 0.5 };

/** In another one, few droids and readers live long and get many messages. */
const talk = {
	shares: { launch: 5, run: 5, send: 60, deliver: 80, note: 20, feed: 50 },
	seconds: 4,
	/** A reader reads until the round ends its input. */
	readerSeconds: 30,
	kills: 3,
};

export function planRound(seed: number): Plan {
	const dice = new Dice(seed);
	const isCrowd = seed % 3 === 0;
	const isTalk = seed % 3 === 1;
	const sharesOfRound = {
		...shares,
		...(isCrowd && { run: crowd.run }),
		...(isTalk && talk.shares),
	};
	let count = 0;
	const name = () => `task ${seed}.${count++}`;
	const actions = Array.from({ length: actionsOfRound }, (_, index): Action => {
		const at = Math.round((index * fire) / actionsOfRound);
		// The first calls are launches, so that the others have tasks.
		const first = (["run", "launch", isTalk ? "launch" : "run"] as const)[
			index
		];
		const verb = first ?? dice.weigh(sharesOfRound);
		const call = planCall(dice, verb, name);
		if (isCrowd && "task" in call) call.task.seconds += crowd.moreSeconds;
		if (isTalk && "task" in call)
			Object.assign(call.task, {
				...(verb === "run" && { kind: "reader" }),
				after: [],
				seconds: verb === "run" ? talk.readerSeconds : talk.seconds,
			});
		const isLaunch = ["run", "launch", "batch"].includes(verb);
		const own = () => dice.below(stepsOf[verb]) + 1;
		const supervisors = () => dice.below(stepsOfSupervisor) + 1;
		const dies =
			!first && dice.chance(/^(hook|deliver)$/.test(verb) ? 0.4 : 0.2);
		const superviseDies = !dies && dice.chance(isLaunch ? 0.4 : 0.1);
		const points = {
			...(dies ? { crash: own() } : dice.chance(0.15) && { nap: own() }),
			...(superviseDies
				? { superviseCrash: supervisors() }
				: dice.chance(isLaunch ? 0.2 : 0.05) && {
						superviseNap: supervisors(),
					}),
			...(dice.chance(verb === "prune" ? 0.6 : isLaunch ? 0.1 : 0) && {
				archiveCrash: dice.below(movesOfCall) + 1,
			}),
		};
		const isScript = Object.keys(points).length > 0;
		const form = isScript
			? dice.weigh(scriptShares)
			: dice.weigh({ ...scriptShares, executable: 12 });
		const mayBeKilled = !first && !dies && !("archiveCrash" in points);
		const isKilled = mayBeKilled && dice.chance(0.15);
		const killAfter = dice.below(200);
		return { at, form, call, ...points, ...(isKilled && { killAfter }) };
	});
	const killed = isTalk ? talk.kills : killsOfRound;
	const kills = Array.from({ length: killed }, (_, index): Kill => {
		const target = dice.weigh<Target>({
			supervisor: 6,
			task: 4,
			parked: 4,
			waiting: 2,
			running: 1,
			line: 1,
			any: 6,
		});
		const asks = /^(supervisor|parked)$/.test(target) && dice.chance(0.1);
		const signal = asks ? "SIGTERM" : "SIGKILL";
		const stops =
			target === "waiting" ||
			(/^(supervisor|task)$/.test(target) && dice.chance(0.15)) ||
			(target === "any" && dice.chance(0.7));
		return {
			at: Math.round(((index + 3) * fire) / killed) + dice.below(60),
			target,
			signal: stops ? "SIGSTOP" : signal,
			stopMs: dice.pick(stopsMs),
			choice: dice.any(),
		};
	});
	const maxRunning = isCrowd ? crowd.maxRunning : 4;
	return { seed, fire, actions, kills, maxRunning };
}

// --- internal ---

function planCall(dice: Dice, verb: Call["verb"], name: () => string): Call {
	const session = dice.pick(sessions);
	switch (verb) {
		case "run":
		case "launch":
			return { verb, task: planTask(dice, verb, name()) };
		case "batch":
			return {
				verb,
				tasks: Array.from({ length: 3 }, () => planTask(dice, "run", name())),
			};
		case "hook": {
			const isSub = dice.chance(0.2);
			const at = isSub ? subagentOf(session) : session;
			const event = dice.chance(0.6) ? "PostToolUse" : dice.pick(events);
			return { verb, event, session: at };
		}
		case "subagent": {
			const event = dice.weigh<Subagents>({
				launched: 3,
				SessionStart: 1,
				SubagentStop: 1,
				SessionEnd: 2,
			});
			return { verb, event, session };
		}
		case "wait":
		case "cancel":
		case "status":
		case "output": {
			const isOne = verb === "status" || verb === "output";
			const of = Array.from(
				{ length: isOne ? 1 : 1 + dice.below(2) },
				dice.any,
			);
			const any = verb === "wait" && dice.chance(0.3);
			return { verb, of, any, collects: dice.chance(0.5) };
		}
		case "send":
		case "note": {
			const [of, waits] = [dice.any(), dice.chance(0.2)];
			return { verb, of, text: name().replace("task", "words"), waits };
		}
		case "feed": {
			const [of, ends] = [dice.any(), dice.chance(0.05)];
			return { verb, of, text: name().replace("task", "input"), ends };
		}
		case "deliver": {
			const event = dice.chance(0.7) ? "PostToolUse" : "Stop";
			return { verb, of: dice.any(), event };
		}
		case "hook-complete":
		case "complete":
		case "pause":
		case "unpause":
		case "edit":
		case "retry":
		case "resume":
			return { verb, of: dice.any() };
		case "limit": {
			const running = dice.pick([1, 2, "default"] as const);
			return { verb, running };
		}
		default:
			return { verb };
	}
}

export function planTask(
	dice: Dice,
	verb: "run" | "launch",
	name: string,
): TaskPlan {
	const session = dice.pick(sessions);
	const isLong = verb === "run" && dice.chance(0.15);
	return {
		name,
		kind:
			verb === "launch"
				? "droid"
				: dice.weigh({ command: 14, reader: 3, nested: 2, missing: 1 }),
		session: dice.chance(0.2) ? subagentOf(session) : session,
		// A droid runs longer, so that it gets messages.
		seconds: (isLong ? 20 : dice.below(8) / 10) + (verb === "launch" ? 1 : 0),
		code: dice.chance(0.3) ? 3 : 0,
		retries: dice.chance(0.2) ? 1 : 0,
		// A long task ends by its timeout.
		...((isLong || dice.chance(0.1)) && { timeout: "0.6s" }),
		after: dice.chance(0.2) ? [dice.any()] : [],
		afterAny: dice.chance(0.5),
		...(dice.chance(0.2) && { unique: `key ${dice.below(2)}` }),
		onEnd: dice.chance(0.2),
		priority: dice.below(3),
		byFile: dice.chance(0.5),
	};
}

/** Pseudo-random numbers from a seed (mulberry32). */
export class Dice {
	#state: number;

	constructor(seed: number) {
		this.#state = seed >>> 0;
	}

	/** At least 0 and less than 1. */
	roll(): number {
		this.#state = (this.#state + 0x6d2b79f5) >>> 0;
		let mixed = this.#state;
		mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	}

	chance = (share: number) => this.roll() < share;
	below = (limit: number) => Math.floor(this.roll() * limit);
	any = () => this.below(1_000_000);
	pick = <T>(from: readonly T[]): T => from[this.below(from.length)] as T;

	weigh<Name extends string>(weights: Record<Name, number>): Name {
		const all = Object.entries(weights) as [Name, number][];
		let left = this.roll() * all.reduce((sum, [, each]) => sum + each, 0);
		for (const [name, weight] of all) {
			left -= weight;
			if (left < 0) return name;
		}
		return all.at(-1)?.[0] as Name;
	}
}
