/**
 * Chaos on a cluster: hundreds of tasks on three nodes, while nodes and supervisors are killed with SIGKILL, the
 * controller is restarted or killed, and tasks are cancelled through bg and through Slurm. Then all comes up again,
 * and each task must have one true end.
 *
 *     npm run chaos:slurm -- [--minutes 5] [--tasks 300] [--seed N]
 *
 * Needs Slurm and root. What a violated run leaves is kept.
 */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { isFinal } from "../../../lib/task/states.ts";
import { Dice } from "../../chaos/plan.ts";
import { toLines } from "../../tools/batch.ts";
import { root } from "../../tools/harness.ts";
import { type Answer, type Cluster, start } from "../cluster.ts";
import { judge, type Planned, type Played, recordsIn } from "./verdict.ts";

const { values } = parseArgs({
	options: {
		minutes: { type: "string", default: "5" },
		tasks: { type: "string", default: "300" },
		seed: { type: "string", default: String(Date.now() % 1_000_000) },
	},
});
const seconds = Number(values.minutes) * 60;
const count = Number(values.tasks);

/** Notes each of its steps in a file of its own. */
const script = `log=$BG_HOME/log/$BG_TASK_ID
note() { echo "$1 $(date +%s%3N)" >>"$log"; }
note begin
for _ in $(seq "$1"); do sleep .5; note beat; done
note end
exit "$2"`;

class Run {
	readonly #cluster: Cluster;
	readonly #dice: Dice;
	readonly #deadline = performance.now() + seconds * 1000;
	readonly home: string;
	readonly dir: string;
	readonly played: Played = {
		planned: new Map(),
		hits: new Map(),
		nodeKills: new Map(),
		controllerKills: [],
		problems: [],
	};
	readonly events = new Map<string, number>();
	/** The first end that was seen of each task. */
	readonly #ends = new Map<string, string>();
	refusals = 0;

	constructor(cluster: Cluster, dice: Dice) {
		this.#cluster = cluster;
		this.#dice = dice;
		this.home = realpathSync(mkdtempSync(join(tmpdir(), "bg-slurm-chaos-")));
		this.dir = join(this.home, "store");
		mkdirSync(join(this.home, "log"));
	}

	async play(): Promise<void> {
		await Promise.all([this.#launch(), this.#disturb(), this.#watch()]);
		await this.#cluster.startController();
		await this.#settle();
	}

	bg(args: string[], input?: string): Promise<Answer> {
		const env = {
			HOME: this.home,
			BG_HOME: this.home,
			BG_DIR: this.dir,
			BG_ENGINE: "slurm",
		};
		const call = { env, cwd: this.home, ...(input && { input }) };
		const argv = [join(root, "dist", "bg"), ...args];
		return this.#cluster.at("login", argv, call);
	}

	get #isOver(): boolean {
		return performance.now() > this.#deadline;
	}

	/** Launches in the first two thirds of the time, so that all may have their turn. */
	async #launch(): Promise<void> {
		const pauseMs = (seconds * 1000 * 2) / 3 / (count / 6);
		let last: string | undefined;
		while (this.played.planned.size < count && !this.#isOver) {
			const size = 1 + this.#dice.below(11);
			const plans = Array.from({ length: size }, () => this.#plan(last));
			const lines = plans.map(({ code, beats, after, ...flags }) => ({
				description: `${beats} ${code}`,
				command: ["sh", "-c", script, "sh", String(beats), String(code)],
				...(after && { after: [after] }),
				...(flags.requeue && { engine_args: "--requeue" }),
				...(flags.retries && { retries: flags.retries }),
			}));
			const answer = await this.bg(
				["launch", "-q", "--batch", "-"],
				toLines(lines),
			);
			if (answer.code === 0) {
				const ids = answer.stdout.trim().split("\n");
				for (const [at, id] of ids.entries())
					this.played.planned.set(id, plans[at] as Planned);
				last = ids.at(-1);
			} else if (answer.code === 111) this.refusals++;
			else
				this.played.problems.push(
					`launch exited ${answer.code}: ${answer.stderr}`,
				);
			await Bun.sleep(pauseMs);
		}
	}

	#plan(last: string | undefined): Planned {
		const dice = this.#dice;
		return {
			beats: 2 + dice.below(14),
			code: dice.chance(0.3) ? 3 : 0,
			requeue: dice.chance(0.3),
			retries: dice.chance(0.2) ? 1 : 0,
			...(last && dice.chance(0.1) && { after: last }),
		};
	}

	async #disturb(): Promise<void> {
		while (!this.#isOver) {
			await Bun.sleep(1000 + this.#dice.below(4000));
			const what = this.#dice.weigh({
				"supervisor killed": 5,
				"node killed": 2,
				"controller restarted": 1,
				"controller killed": 1,
				"task cancelled": 3,
				"job cancelled": 2,
				pruned: 1,
				listed: 2,
			});
			if (await this.#act(what))
				this.events.set(what, (this.events.get(what) ?? 0) + 1);
		}
	}

	/** Returns whether there was something to do it to. */
	async #act(what: string): Promise<boolean> {
		const cluster = this.#cluster;
		const open = [...recordsIn(this.dir).values()].filter(
			(task) => !isFinal(task),
		);
		const task = this.#dice.pick(open);
		const hit = (id: string) => {
			const hits = this.played.hits.get(id) ?? new Set<string>();
			this.played.hits.set(id, hits.add(what));
		};
		switch (what) {
			case "supervisor killed": {
				const running = open.filter(({ process }) => process);
				const { id, engine, supervisor } = this.#dice.pick(running) ?? {};
				if (!id || !engine?.node || !supervisor) return false;
				hit(id);
				const words = ["kill", "-9", String(supervisor.pid)];
				await cluster.at(engine.node, words);
				return true;
			}
			case "node killed": {
				const node = this.#dice.pick(cluster.nodes);
				const before = this.played.nodeKills.get(node) ?? [];
				this.played.nodeKills.set(node, [...before, Date.now()]);
				await cluster.killNode(node);
				await Bun.sleep(this.#dice.below(15_000));
				await cluster.startNode(node);
				return true;
			}
			case "controller restarted":
				await cluster.stopController();
				await Bun.sleep(this.#dice.below(6000));
				await cluster.startController();
				return true;
			case "controller killed":
				this.played.controllerKills.push(Date.now());
				await cluster.killController();
				await cluster.startController();
				return true;
			case "task cancelled":
				if (!task) return false;
				hit(task.id);
				await this.#check(["cancel", task.id]);
				return true;
			case "job cancelled": {
				const { launch } = task?.engine ?? {};
				if (!launch) return false;
				for (const each of recordsIn(this.dir).values())
					if (each.engine?.launch === launch) hit(each.id);
				await cluster.at("login", ["scancel", `--name=${launch}`]);
				return true;
			}
			default:
				await this.#check([what === "pruned" ? "prune" : "list"]);
				return true;
		}
	}

	async #check(args: string[]): Promise<void> {
		const { code, stderr } = await this.bg(args);
		if (![0, 1, 111].includes(code ?? -1) || /^ +at /m.test(stderr))
			this.played.problems.push(`${args} exited ${code}: ${stderr}`);
	}

	async #watch(): Promise<void> {
		while (!this.#isOver) {
			this.#noteEnds();
			await Bun.sleep(300);
		}
	}

	/** An end that was recorded stays. */
	#noteEnds(): void {
		for (const task of recordsIn(this.dir).values()) {
			if (!isFinal(task)) continue;
			const { id, status, reason, completed_at } = task;
			const end = `${status} ${reason} ${completed_at}`;
			const before = this.#ends.get(id) ?? end;
			this.#ends.set(id, before);
			if (end !== before)
				this.played.problems.push(`${id}: ${before}, later ${end}`);
		}
	}

	/**
	 * What an administrator does: Slurm holds a job with --requeue whose node died just as it began, and takes no more jobs
	 * on a node that has a job of the same number ("Duplicate jobid"), which a controller that forgot it gave out again.
	 */
	async #release(): Promise<void> {
		const ask = ["sinfo", "-h", "-N", "-t", "drain", "-o", "%N"];
		const drained = (await this.#cluster.at("login", ask)).stdout;
		for (const node of new Set(drained.split("\n").filter(Boolean))) {
			const resume = ["update", `node=${node}`, "state=resume"];
			await this.#cluster.at("login", ["scontrol", ...resume]);
			this.events.set("resumed", (this.events.get("resumed") ?? 0) + 1);
		}
		const { stdout } = await this.#cluster.at("login", [
			...["squeue", "-h", "-o", "%A %r"],
		]);
		for (const line of stdout.split("\n")) {
			const [job = "", why = ""] = line.split(" ");
			if (!/held/i.test(why)) continue;
			await this.#cluster.at("login", ["scontrol", "release", job]);
			this.events.set("released", (this.events.get("released") ?? 0) + 1);
		}
	}

	/** Lists the tasks every second until all have ended. */
	async #settle(): Promise<void> {
		const deadline = performance.now() + 300_000;
		for (;;) {
			await this.#check(["list"]);
			this.#noteEnds();
			const open = [...recordsIn(this.dir).values()].filter(
				(task) => !isFinal(task),
			);
			if (open.length === 0) break;
			if (performance.now() > deadline) {
				for (const { id } of open) {
					const { stdout } = await this.bg(["status", id]);
					this.played.problems.push(`it does not end: ${stdout}`);
				}
				break;
			}
			await this.#release();
			await Bun.sleep(1000);
		}
		await this.#check(["prune"]);
	}
}

const cluster = await start();
const run = new Run(cluster, new Dice(Number(values.seed)));
try {
	await run.play();
	const { problems, ends } = await judge(run, run.played);
	const list = (counts: ReadonlyMap<string, number>) =>
		[...counts].map(([what, many]) => `${many} ${what}`).join(", ");
	for (const each of problems) console.log(`- ${each}`);
	console.log(
		`seed ${values.seed}: ${run.played.planned.size} tasks; ${run.refusals} launches refused; ${list(run.events)}; ends: ${list(ends)}; ${problems.length} violations`,
	);
	if (problems.length) console.log(`kept in ${run.home}`);
	else rmSync(run.home, { recursive: true });
	process.exitCode = problems.length ? 1 : 0;
} finally {
	await cluster.end();
}
