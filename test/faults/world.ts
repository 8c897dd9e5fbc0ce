/**
 * One case: a store in which one call of one process fails once. Then the world goes on, all comes to rest,
 * and the verdict of the chaos test judges what is left.
 */
import {
	existsSync,
	mkdtempSync,
	readFileSync,
	realpathSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseTask } from "../../lib/task/parse.ts";
import type { Task } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";
import { type Announced, type Asked, askFor } from "../chaos/calls.ts";
import type { Action, Call, Form, TaskPlan } from "../chaos/plan.ts";
import {
	comeToRest,
	environmentOf,
	makeCall,
	tasksOf,
} from "../chaos/round.ts";
import { type Called, isFault, judgeRound, tasksIn } from "../chaos/verdict.ts";
import { Watch, type Watched } from "../chaos/watch.ts";
import { endTracer } from "../tools/faults.ts";
import { linesOf, readOrNothing, root } from "../tools/harness.ts";
import { type Fault, readFaults, straceArgs, wasInjected } from "./trace.ts";

/** A call of the chaos test, or an argv. */
export type Step = Call | { argv: string[]; input?: string; about?: string[] };

export type Outcome = {
	/** Whether the call that was to fail was made. */
	isReached: boolean;
	problems: string[];
};

/** The session of every launch and hook. */
export const session = "first";

/** How long anything may take, in ms. */
const timeoutMs = 90_000;

export class World {
	readonly dir: string;
	readonly log: string;
	readonly #base: string;
	readonly #env: Record<string, string>;
	readonly #fault: Fault | undefined;
	readonly #trace: string;
	readonly #maxRunning: number;
	readonly #watch: Watch;
	readonly #calls: Called[] = [];
	readonly #announced: Announced[] = [];
	readonly #plans = new Map<string, TaskPlan>();
	readonly #problems: string[] = [];
	#count = 0;

	/** @param fault absent to watch the calls of the victim only. */
	constructor({
		fault,
		maxRunning,
	}: { fault?: Fault | undefined; maxRunning: number }) {
		this.#base = realpathSync(mkdtempSync(join(tmpdir(), "bg-faults-")));
		this.dir = join(this.#base, "store");
		this.log = join(this.#base, "log");
		this.#trace = join(this.#base, "trace");
		this.#fault = fault;
		this.#maxRunning = maxRunning;
		this.#watch = new Watch(this.dir, maxRunning);
		this.#env = {
			...environmentOf(this.#base, this.dir, join(this.#base, "crashes")),
			BG_MAX_RUNNING: String(maxRunning),
			BG_KEEP: "3",
		};
	}

	/** A plan of a task with a name of its own. */
	task(more: Partial<TaskPlan> = {}): TaskPlan {
		return {
			name: `task ${this.#count++}`,
			kind: "command",
			session,
			seconds: 0,
			code: 0,
			retries: 0,
			after: [],
			afterAny: false,
			onEnd: false,
			priority: 0,
			byFile: false,
			...more,
		};
	}

	/** Makes a call. A launch returns the ids. */
	call(step: Step): Promise<Called> {
		return this.#make(step, []);
	}

	/** Makes the call one of whose system calls fails. */
	victim(step: Step): Promise<Called> {
		return this.#make(step, [
			"strace",
			...straceArgs(this.#trace, this.#fault),
		]);
	}

	/** Launches a command and returns its id. */
	async run(more: Partial<TaskPlan> = {}): Promise<string> {
		const called = await this.call({ verb: "run", task: this.task(more) });
		const [launched] = tasksIn(called);
		if (!launched) throw new Error(`no launch: ${called.stderr}`);
		return launched.taskId;
	}

	/** A call about tasks, from their session. */
	of(verb: "wait" | "cancel" | "status" | "output", ...ids: string[]): Call {
		const all = this.#announced.map(({ id }) => id);
		const of = ids.map((id) => all.indexOf(id));
		return { verb, of, any: false, collects: true };
	}

	/** Lets a call of the process that serves a task fail, while something happens. */
	async attach(id: string, act: () => Promise<void>): Promise<void> {
		const isServer = ({ kind, ids }: Watched) =>
			/^(supervisor|parked)$/.test(kind) && ids.includes(id);
		const process = await this.until(
			() =>
				this.#watch.processes().find(isServer) ??
				(isFinal(this.record(id)) ? "none" : undefined),
			`a process that serves ${id}`,
		);
		// On a busy machine it may have exited before: then no call fails.
		if (process === "none") return act();
		const args = straceArgs(this.#trace, this.#fault).filter(
			(arg) => arg !== "-qq",
		);
		const tracer = Bun.spawn(["strace", ...args, `--attach=${process.pid}`], {
			env: { ...globalThis.process.env, BG_DIR: this.dir },
			stdin: "ignore",
			stdout: "ignore",
			stderr: "pipe",
		});
		let said = "";
		const reading = (async () => {
			const decoder = new TextDecoder();
			for await (const chunk of tracer.stderr) said += decoder.decode(chunk);
		})();
		try {
			const isOver = () => tracer.exitCode !== null;
			await this.until(() => isOver() || said.includes("attached"), "strace");
			await act();
			await this.until(() => !this.#isServed(id), `no supervisor of ${id}`);
		} finally {
			await endTracer(tracer);
			await reading;
			if (this.#hasAborted())
				this.#watch.deaths.push({ kind: "supervisor", ids: process.ids });
		}
	}

	/** Lets all tasks that sleep end. */
	open(): void {
		writeFileSync(`${this.log}.open`, "");
	}

	/** The record of a task. */
	record(id: string): Task {
		return parseTask(readFileSync(join(this.dir, `${id}.json`), "utf8"));
	}

	async untilTask(id: string, test: (task: Task) => unknown): Promise<void> {
		await this.until(() => test(this.record(id)), `${test} of ${id}`);
	}

	/** Waits until tasks have ended, with nothing that fails. The next call of bg ends those of a supervisor that aborted. */
	async untilEnd(...ids: string[]): Promise<void> {
		for (const id of ids)
			await this.untilTask(id, (task) => isFinal(task) || this.#hasAborted());
	}

	/** States a fact that must hold. */
	expect(fact: boolean, what: string): void {
		if (!fact) this.#problems.push(what);
	}

	async until<T>(condition: () => T, what: string): Promise<NonNullable<T>> {
		const deadline = performance.now() + timeoutMs;
		for (;;) {
			const answer = condition();
			if (answer) return answer;
			if (performance.now() > deadline)
				throw new Error(`waited in vain for ${what}`);
			await Bun.sleep(25);
		}
	}

	/** Plays a scenario and returns what came out. */
	async play(scenario: (world: World) => Promise<void>): Promise<Outcome> {
		const sampler = setInterval(() => this.#watch.sample(), 400);
		try {
			await scenario(this);
			await this.#settle();
		} catch (error) {
			this.#problems.push(`${error}`);
		} finally {
			clearInterval(sampler);
			this.#watch.killAll();
		}
		const problems = [...this.#watch.problems, ...this.#problems];
		return { isReached: wasInjected(this.#trace), problems };
	}

	/** The faults that may be tried, after a scenario was played without one. */
	get faults(): Fault[] {
		return readFaults(this.#trace, this.dir);
	}

	/** What was said and recorded, for a person. */
	get trail(): string {
		return this.#calls
			.map(({ argv, code, stdout, stderr }) =>
				JSON.stringify({ argv, code, stdout, stderr }),
			)
			.join("\n");
	}

	/** Ends a play that goes on: kills its processes, strace among them, and removes its folder. */
	abandon(): void {
		do this.#watch.killAll();
		while (this.#watch.processes().length);
		this.remove();
	}

	remove(): void {
		rmSync(this.#base, { recursive: true, force: true });
	}

	get place(): string {
		return this.#base;
	}

	// --- internal ---

	async #make(step: Step, prefix: string[]): Promise<Called> {
		const isPlanned = "verb" in step;
		if (isPlanned)
			for (const task of tasksOf(step)) this.#plans.set(task.name, task);
		const place = {
			program: join(root, "dist", "bg"),
			log: this.log,
			dir: this.dir,
		};
		const asked: Asked = isPlanned
			? askFor(step, this.#announced, place)
			: { about: [], session, ...step };
		const call: Call = isPlanned ? step : { verb: "list" };
		const action: Action = { at: 0, form: "executable", call };
		const called = await makeCall(action, asked, this.#env, prefix);
		this.#calls.push(called);
		for (const { taskId, sessionId, description } of tasksIn(called))
			if (/^(run|launch|retry|resume)$/.test(asked.argv[0] ?? ""))
				this.#announced.push({
					id: taskId,
					own: sessionId,
					session,
					plan: this.#plans.get(description),
				});
		if (isFault(called)) this.#problems.push(JSON.stringify(called));
		return called;
	}

	/** Whether the process whose call failed was ended by its runtime, in which calls of its own start failed. */
	#hasAborted = () => readOrNothing(this.#trace).includes("killed by SIGABRT");

	#isServed = (id: string) =>
		this.#watch
			.processes()
			.some(({ kind, ids }) => kind !== "task" && ids.includes(id));

	/** Lets all come to rest, tells the session what it was not told, and judges. */
	async #settle(): Promise<void> {
		this.open();
		await comeToRest(this.#watch);
		await this.#tidy({ form: "executable" });
		// What a process could not remove counts as garbage once the clock is an hour ahead.
		if (this.#judge().length)
			await this.#tidy({ form: "bun", clock: "3600000" });
		this.#problems.push(...this.#judge());
	}

	async #tidy({ form, clock }: { form: Form; clock?: string }): Promise<void> {
		const env = { ...this.#env, ...(clock && { CHAOS_CLOCK: clock }) };
		const action: Action = { at: 0, form, call: { verb: "prune" } };
		const asked: Asked = { argv: ["prune"], about: [] };
		this.#calls.push(await makeCall(action, asked, env));
		await comeToRest(this.#watch);
		do await this.call({ verb: "hook", event: "SessionStart", session });
		while (this.#calls.at(-1)?.stdout);
	}

	#judge(): string[] {
		this.#watch.sample();
		const seen = this.#watch.report(this.log);
		const round = {
			dir: this.dir,
			plans: this.#plans,
			calls: this.#calls,
			seen,
			known: this.#watch.known,
			maxRunning: this.#maxRunning,
			isFaulty: true,
		};
		return [...judgeRound(round), ...this.#judgeRefusals(seen)];
	}

	/** The description of a task, empty if it was deleted. */
	#nameOf(id: string): string {
		return existsSync(join(this.dir, `${id}.json`))
			? this.record(id).description
			: "";
	}

	/** A launch that was refused, and did not say that it may have happened, starts nothing. */
	#judgeRefusals(seen: ReturnType<Watch["report"]>): string[] {
		return this.#calls.flatMap(({ action, code, stdout, stderr }) => {
			const { call } = action;
			if (code === 0) return [];
			const names = tasksOf(call).map(({ name }) => name);
			return linesOf(this.log).flatMap((line) => {
				const [what, id = ""] = line.split(" ");
				if (what !== "start" || (stdout + stderr).includes(id)) return [];
				return names.includes(this.#nameOf(id)) && seen(id).starts.size
					? [`${id} was refused, and ran: ${stdout}${stderr}`]
					: [];
			});
		});
	}
}
