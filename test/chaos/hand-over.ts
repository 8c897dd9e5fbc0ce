/**
 * One hand-over of a place in which one process dies of SIGKILL after a chosen step: a change on disk, a
 * signal, or the start of a process. Nobody calls bg after that: the tasks that are left have to start by
 * themselves, in their order, within their limit.
 *
 *     ending    the supervisor whose task has a place and ends
 *     woken     a launch that is parked, woken, granted the place, and runs its task
 *     launcher  a launch that has to wait, while the place becomes free
 *     unpause   a call that continues a paused launch
 *     cancel    a call that cancels a launch that waits
 *     line      all running supervisors and the first in line, at once; the step says nothing
 */
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	realpathSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { parseTask } from "../../lib/task/parse.ts";
import { isFinal } from "../../lib/task/states.ts";
import { linesOf, readOrNothing } from "../tools/harness.ts";
import { listStoreProcesses } from "../tools/processes.ts";

export const roles = [
	"ending",
	"woken",
	"launcher",
	"unpause",
	"cancel",
	"line",
] as const;
export type Role = (typeof roles)[number];

export type Outcome = {
	/** The step after which a process died; undefined if it has fewer steps. */
	step: string | undefined;
	/** The longest time for which a place was free and a task waited for it, in ms. */
	gap: number;
	problems: string[];
};

const root = join(import.meta.dir, "..", "..");
const executable = join(root, "dist", "bg");
const crash = ["bun", join(import.meta.dir, "crash.mjs")];

/**
 * The longest that a free place may stay free, in ms. By design it is 5 s; a slow machine is no failure. What only a
 * parked shell notices, at its second poll, takes 45 s.
 */
const maxGap = 30_000;

/** The same if those next in line have died as well. By design it is 60 s. */
const maxGapOfLine = 90_000;

/** When a parked shell has polled for the first time, in ms. */
const firstPoll = 5000;

/** How long a parked shell may stay that was not told to leave, in ms. It looks every 45 s. */
const maxLeaving = 60_000;

/** Plays one hand-over in a store of its own, where so many tasks may run at once. */
export async function playHandOver(
	role: Role,
	step: number,
	places: 1 | 2,
): Promise<Outcome> {
	const base = realpathSync(mkdtempSync(join(tmpdir(), "bg-hand-over-")));
	try {
		return await new HandOver(base, places).play(role, step);
	} finally {
		rmSync(base, { recursive: true, force: true });
	}
}

// --- internal ---

/** The tasks whose supervisors die. */
const victims: Record<Role, string[]> = {
	ending: ["first"],
	woken: ["third"],
	launcher: [],
	unpause: [],
	cancel: [],
	line: ["first", "second", "fourth", "fifth"],
};

/** Logs its start and its end, and waits for its gate if there is one. */
const script =
	'echo "start $0 $EPOCHREALTIME" >>"$1"; while [ -n "$2" ] && ! [ -e "$2" ]; do sleep 0.2; done; echo "end $0 $EPOCHREALTIME" >>"$1"';

class HandOver {
	readonly #base: string;
	readonly #dir: string;
	readonly #log: string;
	readonly #crashes: string;
	readonly #places: number;
	readonly #problems: string[] = [];
	#maxGap = maxGap;

	constructor(base: string, places: number) {
		this.#base = base;
		this.#dir = join(base, "store");
		this.#log = join(base, "log");
		this.#crashes = join(base, "crashes");
		this.#places = places;
		mkdirSync(join(base, "home"));
	}

	async play(role: Role, step: number): Promise<Outcome> {
		if (role === "line") this.#maxGap = maxGapOfLine;
		try {
			for (let n = 1; n < this.#places; n++)
				await this.#run("beside", { gate: "at last" });
			const ending = { supervise: step };
			await this.#run("first", {
				gate: "gate",
				...(role === "ending" && ending),
			});
			await this.#until(
				() => this.#has("start first") || this.#hasDied(),
				"its start",
			);
			if (role === "launcher") await this.#dieLaunching(step);
			else await this.#launchOthers(role === "woken" ? step : undefined);
			// Later a parked shell notices nothing for long.
			if (role === "ending") await Bun.sleep(firstPoll);
			if (role === "line") await this.#killLine();
			if (role === "unpause" || role === "cancel")
				await this.#dieCalling(role, step);
			this.#open("gate");
			const from = Date.now();
			// The record of the one that died says what happened only once a verb has reconciled it.
			await this.#until(
				() => this.#unfinished(role).length === 0,
				"every other task's end",
			);
			for (const { id } of this.#paused()) await this.#call(["unpause", id]);
			this.#open("at last");
			await this.#until(
				() => listStoreProcesses(this.#dir).length === 0,
				"every process gone",
				Math.max(maxLeaving, 2 * this.#maxGap),
			);
			this.#judgeLimit();
			await this.#judgeRecords();
			return this.#outcome(from);
		} catch (error) {
			this.#problems.push(`${error}`);
			return this.#outcome(Date.now());
		} finally {
			this.#open("gate");
			this.#open("at last");
			for (const { pid } of listStoreProcesses(this.#dir)) kill(pid);
		}
	}

	/** Two single launches, a batch, and another launch. */
	async #launchOthers(step: number | undefined): Promise<void> {
		await this.#run("second", {});
		await this.#run("third", step === undefined ? {} : { supervise: step });
		await this.#batch(["fourth", "fifth"]);
		await this.#run("sixth", {});
	}

	/** Kills all that run bg but the parked shells. */
	async #killLine(): Promise<void> {
		const supervisors = () =>
			listStoreProcesses(this.#dir).filter(({ kind }) => kind === "supervisor");
		// Those that run, the first in line, and that of the batch.
		await this.#until(
			() => supervisors().length === this.#places + 2,
			"the first in line awake",
		);
		for (const { pid } of supervisors()) kill(pid);
		this.#open("at last");
		writeFileSync(
			this.#crashes,
			`${JSON.stringify({ role: "all", step: "at once", number: 0 })}\n`,
		);
	}

	/** Calls a verb for a launch that is neither next nor last; the call dies. */
	async #dieCalling(verb: "unpause" | "cancel", step: number): Promise<void> {
		const third = this.#tasks().find((task) => task.description === "third");
		const id = third?.id ?? "";
		if (verb === "unpause") await this.#call(["pause", id]);
		await this.#call([verb, id], this.#crashAt({ verb: step }));
	}

	/** Launches a task while the place becomes free; the launcher dies meanwhile. */
	async #dieLaunching(step: number): Promise<void> {
		// With nobody else in line, only the new one can notice.
		if (step % 3 === 0) await this.#run("second", {});
		const nap = join(this.#base, "nap");
		const launch = this.#run("third", {
			verb: step + 1,
			nap: step,
			napLog: nap,
		});
		await Promise.race([
			launch,
			this.#until(() => existsSync(nap), "its sleep"),
		]);
		this.#open("gate");
		await launch;
	}

	async #call(
		args: string[],
		env: Record<string, string> = {},
		input?: string,
	): Promise<void> {
		const program = Object.keys(env).length ? crash : [executable];
		const bin = join(root, "node_modules", ".bin");
		const child = Bun.spawn([...program, ...args], {
			cwd: join(this.#base, "home"),
			env: {
				PATH: `${bin}${delimiter}${process.env.PATH}`,
				HOME: join(this.#base, "home"),
				BG_DIR: this.#dir,
				BG_MAX_RUNNING: String(this.#places),
				...env,
			},
			stdin: input === undefined ? "ignore" : Buffer.from(input),
			stdout: "ignore",
			stderr: "pipe",
		});
		const said = await new Response(child.stderr).text();
		if ((await child.exited) !== 0 && child.signalCode !== "SIGKILL")
			this.#problems.push(`${args.join(" ")}: ${said}`);
	}

	#run(
		name: string,
		{
			gate,
			supervise,
			verb,
			nap,
			napLog = "",
		}: {
			gate?: string;
			supervise?: number;
			verb?: number;
			nap?: number;
			napLog?: string;
		},
	): Promise<void> {
		const isCrash = supervise !== undefined || verb !== undefined;
		return this.#call(["run", "-q", name, "--", ...this.#command(name, gate)], {
			...(isCrash && this.#crashAt({ verb, supervise })),
			...(nap && { CHAOS_NAP: `verb:${nap}`, CHAOS_NAP_LOG: napLog }),
		});
	}

	#crashAt = ({ verb = 0, supervise = 0 }) => ({
		CHAOS_PROGRAM: join(root, "dist", "bg.mjs"),
		CHAOS_LOG: this.#crashes,
		CHAOS_CRASH: `verb:${verb},supervise:${supervise}`,
	});

	#batch(names: string[]): Promise<void> {
		const lines = names.map((name) =>
			JSON.stringify({ description: name, command: this.#command(name) }),
		);
		return this.#call(["launch", "-q", "--batch", "-"], {}, lines.join("\n"));
	}

	#command = (name: string, gate?: string) => [
		...["bash", "-c", script, name, this.#log],
		gate ? join(this.#base, gate) : "",
	];

	#open = (gate: string) => writeFileSync(join(this.#base, gate), "");

	#has = (line: string) =>
		linesOf(this.#log).some((each) => each.startsWith(line));

	#hasDied = () => existsSync(this.#crashes);

	#tasks = () =>
		readdirSync(this.#dir)
			.filter((name) => name.endsWith(".json"))
			.flatMap((name) => {
				const text = readOrNothing(join(this.#dir, name));
				return text ? [parseTask(text)] : [];
			});

	#paused = () =>
		this.#tasks().filter((task) => task.paused_at && !isFinal(task));

	/** The tasks that have to end without a call of bg. */
	#unfinished(role: Role): string[] {
		return this.#tasks()
			.filter((task) => !isFinal(task) && !task.paused_at)
			.map(({ description }) => description)
			.filter((name) => name !== "beside")
			.filter((name) => !victims[role].includes(name) || !this.#hasDied());
	}

	async #until(
		condition: () => boolean,
		what: string,
		timeoutMs = 2 * this.#maxGap,
	): Promise<void> {
		const deadline = performance.now() + timeoutMs;
		while (!condition()) {
			if (performance.now() > deadline) {
				const processes = listStoreProcesses(this.#dir).map(
					({ kind, argv }) => `${kind} ${argv.slice(-3).join(" ")}`,
				);
				const names = ["queue", "slots", "parked"].flatMap((folder) =>
					readdirSync(join(this.#dir, `.${folder}`)),
				);
				throw new Error(
					`waited in vain for ${what}: ${JSON.stringify({ names, processes, log: linesOf(this.#log) })}`,
				);
			}
			await Bun.sleep(10);
		}
	}

	/** The log's events, in their order. */
	#events = () =>
		linesOf(this.#log).map((line) => {
			const [what, name = "", seconds] = line.split(" ");
			return { what, name, at: Number(seconds) * 1000 };
		});

	#judgeLimit(): void {
		const running = new Set<string>();
		for (const { what, name } of this.#events()) {
			if (what === "end") running.delete(name);
			else running.add(name);
			if (running.size > this.#places)
				this.#problems.push(`at once: ${[...running]}`);
		}
	}

	/** After one call of `wait` each task has ended once, and nothing is left. */
	async #judgeRecords(): Promise<void> {
		const ids = this.#tasks().map(({ id }) => id);
		await this.#call(["list"]);
		await this.#call(["prune"]);
		for (const task of this.#tasks())
			if (!isFinal(task)) this.#problems.push(JSON.stringify(task));
		if (ids.length !== this.#tasks().length)
			this.#problems.push("a record has gone");
		const started = this.#events().filter(({ what }) => what === "start");
		const names = started.map(({ name }) => name);
		if (new Set(names).size !== names.length)
			this.#problems.push(`started twice: ${names}`);
		// A launch that was paused begins later.
		const isPausable = this.#tasks().some(
			(task) => task.paused_ms !== undefined,
		);
		const order = isPausable
			? []
			: ["second", "third", "fourth", "fifth", "sixth"];
		const expected = order.filter((name) => names.includes(name));
		const seen = names.filter((name) => order.includes(name));
		if (this.#places === 1 && `${seen}` !== `${expected}`)
			this.#problems.push(`started as ${seen}`);
		for (const folder of ["queue", "slots", "parked", "after", "launches"])
			for (const name of readdirSync(join(this.#dir, `.${folder}`)))
				this.#problems.push(`.${folder}/${name} is left`);
	}

	#outcome(from: number): Outcome {
		const [line] = linesOf(this.#crashes);
		const { role, step, number } = line ? JSON.parse(line) : {};
		const starts = this.#events().filter(
			({ what, at }) => what === "start" && at >= from,
		);
		let freeAt = Math.max(
			from,
			...this.#events().flatMap(({ what, name, at }) =>
				what === "end" && name === "first" ? at : [],
			),
		);
		let gap = 0;
		for (const { name, at } of starts) {
			gap = Math.max(gap, at - freeAt);
			freeAt =
				this.#events().find(
					({ what, name: of }) => what === "end" && of === name,
				)?.at ?? at;
		}
		if (gap > this.#maxGap)
			this.#problems.push(`a place was free for ${gap} ms`);
		return {
			step: line && `${role} ${number} ${step}`,
			gap,
			problems: this.#problems,
		};
	}
}

function kill(pid: number): void {
	try {
		process.kill(pid, "SIGKILL");
	} catch {}
}
