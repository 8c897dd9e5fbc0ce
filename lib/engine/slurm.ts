/**
 * Slurm. Measured on 22.05: a job's number may be given out twice, so a job is asked for by its name; a controller that
 * is down blocks every program for 9 s and more, so each call is capped.
 */
import { BgError, refused } from "../error.ts";
import { quoteForShell } from "../process/self.ts";
import type { Store } from "../store/paths.ts";
import { jobsFolder } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import {
	describeEnd,
	formatRanges,
	jobKey,
	type ListedJob,
	type OverJob,
	parseFields,
	parseQueue,
	parseRefusal,
	parseStopCause,
	phaseOf,
	queueFormat,
	scriptExits,
} from "./slurm-answers.ts";
import { isSubmissionPending, readJobNumber } from "./submissions.ts";
import type { Engine, JobState, OwnJob, Submission } from "./types.ts";

/** How long one of Slurm's programs may take, in ms. */
const capMs = 3000;

/** How old the list of jobs may be, in ms. */
const maxAgeMs = 5000;

/** Slurm, for the tasks of a store. */
export const createSlurm = (store: Store): Engine => ({
	name: "slurm",
	submit: (submission) => submit(store, submission),
	statesOf: (tasks) => tasks.map((task) => stateOf(store, task)),
	hasJob: (launch) =>
		[...readQueue().values()].some((job) => job.launch === launch),
	ring: (tasks) => {
		const { spawn } = process.getBuiltinModule("node:child_process");
		const jobs = listJobs(store, tasks);
		if (jobs.length === 0) return Promise.resolve(true);
		const args = ["--batch", "--signal=URG", ...jobs];
		const child = spawn("scancel", args, { stdio: "ignore", detached: true });
		child.unref();
		return new Promise((resolve) => {
			child.on("error", () => resolve(false));
			child.on("exit", (code) => resolve(code === 0));
		});
	},
	cancel: (tasks) => {
		const jobs = listJobs(store, tasks);
		if (jobs.length) call("scancel", ["--quiet", ...jobs]);
	},
	here,
	whyStopped: ({ job, run }) => {
		const own = process.env.SLURM_JOB_NAME;
		try {
			// By its place in an array: by its number alone, all of the array may be shown.
			const text = call("scontrol", ["show", "job", job]);
			if (parseFields(text).get("JobName") !== own)
				throw refused("another job");
			return parseStopCause(text, { job, run });
		} catch (error) {
			if (error instanceof BgError) return { again: false };
			throw error;
		}
	},
	checkJob: (identity) => {
		const [name, cluster, number = "", run = "0"] = identity.split(":");
		if (name !== "slurm") return "unknown";
		try {
			if (readConfig().get("ClusterName") !== cluster) return "unknown";
			const listed = [...readQueue().values()].find(
				(job) => job.number === number,
			);
			const state = listed?.state ?? findOver(number)?.state;
			if (!state) return "unknown";
			const phase = phaseOf(state);
			// It was put back, and runs or will run elsewhere.
			if (phase === "pending") return "gone";
			if (phase === "running")
				return readRestarts(number) > Number(run) ? "gone" : "alive";
			// Otherwise processes may outlive their job.
			const isGone = canTrackProcesses() || state === "NODE_FAIL";
			return isGone ? "gone" : "unknown";
		} catch (error) {
			if (error instanceof BgError) return "unknown";
			throw error;
		}
	},
});

// --- internal ---

/**
 * Runs one of Slurm's programs, at most 3 s.
 * @throws BgError (refused) in its words.
 */
function call(
	program: string,
	args: readonly string[],
	{
		input,
		env = process.env,
	}: { input?: string; env?: NodeJS.ProcessEnv } = {},
): string {
	const { spawnSync } = process.getBuiltinModule("node:child_process");
	const done = spawnSync(program, args, {
		encoding: "utf8",
		env,
		timeout: capMs,
		killSignal: "SIGKILL",
		maxBuffer: 256 * 1024 * 1024,
		...(input !== undefined && { input }),
	});
	if (done.status === 0) return done.stdout;
	const { error } = done;
	if (error && "code" in error && error.code === "ENOENT")
		throw refused(`${program} is not found: is Slurm installed here?`);
	if (done.signal || error)
		throw refused(`Slurm does not answer (${program} took more than 3 s)`);
	throw refused(`Slurm: ${parseRefusal(done.stderr) || `${program} failed`}`);
}

function submit(store: Store, submission: Submission): string {
	const { launch, tasks, args, after, delayMs, env } = submission;
	const isArray = tasks.some((task) => task.engine?.index !== undefined);
	const own = [
		"--parsable",
		`--job-name=${launch}`,
		"--chdir=/",
		"--output=/dev/null",
		"--no-requeue",
		...(isArray ? [`--array=0-${tasks.length - 1}`] : []),
		...(after.length ? [`--dependency=afterany:${after.join(":")}`] : []),
		...(delayMs > 0 ? [`--begin=now+${Math.ceil(delayMs / 1000)}`] : []),
	];
	const input = buildScript(store, submission);
	const answer = call("sbatch", [...own, ...args], { input, env });
	const [, job] = /^(\d{1,10})(;|$)/.exec(answer.trim()) ?? [];
	if (!job) throw refused(`sbatch answered ${JSON.stringify(answer)}`);
	return job;
}

/** The job script. It may run on a node where neither the store nor bg are. */
function buildScript(
	store: Store,
	{ launch, command, env }: Submission,
): string {
	const files = command.filter((word) => word.startsWith("/"));
	const folder = quoteForShell(jobsFolder(store));
	const isThere = files.map((file) => `[ -r ${quoteForShell(file)} ]`);
	return [
		"#!/bin/sh",
		`[ -d ${folder} ] || exit ${scriptExits.notShared}`,
		`${isThere.join(" && ")} || exit ${scriptExits.noProgram}`,
		"unset BG_TASK_ID BG_TASK_ENV",
		`export BG_DIR=${quoteForShell(store.dir)}`,
		`export BG_SUPERVISOR=${quoteForShell(env.BG_SUPERVISOR ?? "")}`,
		// biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
		'export BG_JOB="slurm:$SLURM_CLUSTER_NAME:$SLURM_JOB_ID${SLURM_RESTART_COUNT:+:$SLURM_RESTART_COUNT}"',
		`exec ${command.map(quoteForShell).join(" ")} --job ${launch}`,
		"",
	].join("\n");
}

function here(env: NodeJS.ProcessEnv = process.env): OwnJob | undefined {
	const { SLURM_JOB_ID = "", SLURM_CLUSTER_NAME = "" } = env;
	if (!/^\d{1,10}$/.test(SLURM_JOB_ID)) return undefined;
	const { SLURM_ARRAY_JOB_ID, SLURM_ARRAY_TASK_ID } = env;
	return {
		identity: `slurm:${SLURM_CLUSTER_NAME}:${SLURM_JOB_ID}`,
		job: SLURM_ARRAY_JOB_ID
			? `${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}`
			: SLURM_JOB_ID,
		node: env.SLURMD_NODENAME ?? "",
		run: Number(env.SLURM_RESTART_COUNT ?? 0),
		index: Number(SLURM_ARRAY_TASK_ID ?? 0),
	};
}

/** An answer that several questions may share, for 5 s. A failure is one too. */
function shared<T>(ask: () => T): () => T {
	let answer: { at: number; get: () => T } | undefined;
	return () => {
		if (answer && performance.now() - answer.at < maxAgeMs) return answer.get();
		const get = settle(ask);
		answer = { at: performance.now(), get };
		return get();
	};
}

/** Calls a function now; the result returns or throws what it did. */
function settle<T>(ask: () => T): () => T {
	try {
		const value = ask();
		return () => value;
	} catch (error) {
		return () => {
			throw error;
		};
	}
}

const readQueue = shared(() =>
	parseQueue(
		call("squeue", ["-h", "-r", "-t", "all", "--me", "-o", queueFormat]),
	),
);

const readConfig = shared(
	() =>
		new Map(
			call("scontrol", ["show", "config"])
				.split("\n")
				.map((line) => {
					const [key = "", value = ""] = line.split(/\s+=\s+/);
					return [key, value.trim()];
				}),
		),
);

function findListed({ engine }: Task): ListedJob | undefined {
	return readQueue().get(jobKey(engine?.launch ?? "", engine?.index));
}

function stateOf(store: Store, task: Task): JobState {
	const { engine, supervisor } = task;
	const listed = findListed(task);
	const phase = listed && phaseOf(listed.state);
	if (listed && phase === "pending")
		return { phase, job: listed.shown, why: listed.why };
	if (listed && phase === "running")
		return { phase, job: listed.shown, node: listed.node };
	const launch = engine?.launch ?? "";
	if (!listed && isSubmissionPending(store, launch))
		return { phase: "unknown", why: "it is being submitted" };
	const [, , own] = supervisor?.job?.split(":") ?? [];
	const number = listed?.number ?? own;
	const over = number ? findOver(number) : undefined;
	if (!over && !listed) return { phase: "none" };
	const shown = listed?.shown ?? engine?.job ?? number ?? "";
	const known: OverJob = over ?? { shown, state: listed?.state ?? "" };
	return {
		phase: "over",
		job: shown,
		end: describeEnd({
			...known,
			shown,
			isLeaky: attempt(canTrackProcesses) === false,
		}),
	};
}

/** A job that is over: of the controller while it knows it, else of the log of ended jobs. */
function findOver(number: string): OverJob | undefined {
	const fields = showJob(number);
	const state = fields?.get("JobState");
	if (fields && state)
		return phaseOf(state) === "over"
			? {
					shown: number,
					state,
					exit: fields.get("ExitCode"),
					node: fields.get("BatchHost"),
				}
			: undefined;
	const format = ["-n", "-P", "-o", "jobid,state,exitcode,nodelist"];
	const text =
		attempt(() => call("sacct", ["-X", ...format, "-j", number])) ||
		attempt(() => call("sacct", ["-c", ...format, "-j", number])) ||
		"";
	const lines = text.split("\n").map((line) => line.split("|"));
	const [, ended, exit, node] = lines.findLast(([job]) => job === number) ?? [];
	if (!ended || phaseOf(ended) !== "over") return undefined;
	return { shown: number, state: ended, exit, node };
}

function attempt<T>(act: () => T): T | undefined {
	try {
		return act();
	} catch (error) {
		if (error instanceof BgError) return undefined;
		throw error;
	}
}

/** How often a job was started again. */
const readRestarts = (number: string): number =>
	Number(showJob(number)?.get("Restarts") ?? 0);

/** Whether no process of a job outlives it. */
const canTrackProcesses = (): boolean =>
	readConfig().get("ProctrackType") === "proctrack/cgroup";

/** What the controller shows of a job; undefined if it does not know it, or does not answer. */
function showJob(number: string): Map<string, string> | undefined {
	const shown = attempt(() => call("scontrol", ["show", "job", number])) ?? "";
	// An element may have the number of its array: then all of them are shown.
	return shown
		.split("\n\n")
		.map(parseFields)
		.find((each) => each.get("JobId") === number);
}

/** The jobs of tasks as scancel(1) takes them: the places of an array together, which is one request. */
function listJobs(store: Store, tasks: readonly Task[]): string[] {
	const groups = Map.groupBy(tasks, ({ engine }) => engine?.launch ?? "");
	return [...groups].flatMap(([launch, group]) => {
		const [first] = group;
		const number =
			readJobNumber(store, launch) ??
			first?.engine?.job?.split("_")[0] ??
			(first && attempt(() => findListed(first)?.shown.split("_")[0]));
		if (!number) return [];
		const indexes = group.flatMap(({ engine }) => engine?.index ?? []);
		const places = indexes.length ? `_[${formatRanges(indexes)}]` : "";
		return [`${number}${places}`];
	});
}
