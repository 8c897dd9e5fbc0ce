/**
 * Slurm. Measured on 22.05: a job's number may be given out twice, so a job is asked for by its name; a controller that
 * is down blocks every program for 9 s and more, so each call is capped.
 */
import { BgError, refused } from "../error.ts";
import { toLine } from "../print/text.ts";
import { quoteForShell } from "../process/self.ts";
import type { Store } from "../store/paths.ts";
import { jobsFolder } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import { JobList } from "./job-list.ts";
import { call, SilentError } from "./programs.ts";
import {
	describeEnd,
	jobKey,
	type ListedJob,
	type OverJob,
	parseFields,
	parseStopCause,
	phaseOf,
	scriptExits,
} from "./slurm-answers.ts";
import { listSubmitted, readJobNumber } from "./submissions.ts";
import type { Engine, JobState, OwnJob, Submission } from "./types.ts";

/** Slurm, for the tasks of a store. */
export function createSlurm(store: Store): Engine {
	const list = new JobList(store);
	return {
		name: "slurm",
		submit: (submission) => submit(store, submission),
		statesOf: (tasks) => tasks.map((task) => stateOf(store, list, task)),
		refresh: () => list.refresh(),
		problem: () => list.problem,
		countJobs: () => {
			const submitted = listSubmitted(store);
			const jobs = [...list.read().values()].filter(
				({ launch, state }) =>
					submitted.has(launch) && phaseOf(state) !== "over",
			);
			return jobs.length;
		},
		hasJob: (launch) =>
			[...list.read().values()].some((job) => job.launch === launch),
		ring: (tasks) => {
			const { spawn } = process.getBuiltinModule("node:child_process");
			const jobs = tasks.flatMap((task) => listJobs(store, list, task));
			if (jobs.length === 0) return;
			const args = ["--batch", "--signal=URG", ...jobs];
			const child = spawn("scancel", args, { stdio: "ignore", detached: true });
			child.on("error", () => {});
			child.unref();
		},
		cancel: (tasks) => {
			const jobs = tasks.flatMap((task) => listJobs(store, list, task));
			if (jobs.length) call("scancel", ["--quiet", ...jobs]);
		},
		here,
		whyStopped: ({ job, run, identity }) => {
			try {
				const [, , number = ""] = identity.split(":");
				return parseStopCause(call("scontrol", ["show", "job", number]), {
					job,
					run,
				});
			} catch (error) {
				if (!(error instanceof BgError)) throw error;
				// Nobody says why: what was asked for is an end.
				const end = describeEnd({ shown: job, state: "CANCELLED" });
				return { end, again: false };
			}
		},
		checkJob: (identity) => {
			const [name, cluster, number = ""] = identity.split(":");
			if (name !== "slurm") return "unknown";
			try {
				const listed = [...list.read().values()].find(
					(job) => job.number === number,
				);
				if (readConfig().get("ClusterName") !== cluster) return "unknown";
				if (listed) return phaseOf(listed.state) === "over" ? "gone" : "alive";
				return findOver(number) ? "gone" : "unknown";
			} catch (error) {
				if (error instanceof BgError) return "unknown";
				throw error;
			}
		},
	};
}

// --- internal ---

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
	const script = buildScript(store, submission);
	const answer = call("sbatch", [...own, `--wrap=${script}`, ...args], env);
	const [, job] = /^(\d{1,10})(;|$)/.exec(answer.trim()) ?? [];
	if (!job)
		throw refused(`sbatch answered ${JSON.stringify(toLine(answer, 100))}`);
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
		`[ -d ${folder} ] || exit ${scriptExits.notShared}`,
		`${isThere.join(" && ")} || exit ${scriptExits.noProgram}`,
		"unset BG_TASK_ID BG_TASK_ENV",
		`export BG_DIR=${quoteForShell(store.dir)}`,
		`export BG_SUPERVISOR=${quoteForShell(env.BG_SUPERVISOR ?? "")}`,
		'export BG_JOB="slurm:$SLURM_CLUSTER_NAME:$SLURM_JOB_ID"',
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

let config: ReadonlyMap<string, string> | undefined;

/** Reads Slurm's configuration. @throws BgError (refused). */
export function readConfig(): ReadonlyMap<string, string> {
	config ??= new Map(
		call("scontrol", ["show", "config"])
			.split("\n")
			.map((line) => {
				const [key = "", value = ""] = line.split(/\s+=\s+/);
				return [key, value.trim()];
			}),
	);
	return config;
}

function stateOf(store: Store, list: JobList, task: Task): JobState {
	try {
		return determineState(store, list, task);
	} catch (error) {
		if (error instanceof SilentError) list.noteProblem(error);
		if (!(error instanceof BgError)) throw error;
		const { job, node } = task.engine ?? {};
		const [known = job] = job ? [] : listJobsByRecord(store, task);
		return {
			phase: "unknown",
			why: error.message,
			...(known && { job: known }),
			...(node && { node }),
		};
	}
}

/** @throws BgError: cannot tell. */
function determineState(store: Store, list: JobList, task: Task): JobState {
	const { engine, supervisor } = task;
	const { launch = "", index } = engine ?? {};
	const listed = list.find(launch, jobKey(launch, index));
	const phase = listed && phaseOf(listed.state);
	if (listed && phase === "pending")
		return { phase, job: listed.shown, why: listed.why };
	if (listed && phase === "running")
		return { phase, job: listed.shown, node: listed.node };
	const [, , own] = supervisor?.job?.split(":") ?? [];
	const [recorded] = listJobsByRecord(store, task);
	const number = listed?.number ?? own ?? recorded;
	const over = number ? findOver(number, launch) : undefined;
	if (!over && !listed) return { phase: "none" };
	const shown = listed?.shown ?? engine?.job ?? number ?? "";
	const known: OverJob = over ?? { shown, state: listed?.state ?? "" };
	return {
		phase: "over",
		job: shown,
		end: describeEnd({ ...known, shown }),
	};
}

/** What is known of jobs that are over, by number. */
const overJobs = new Map<string, OverJob>();

/**
 * A job that is over: of the controller while it knows it, else of the log of ended jobs.
 * @param name the name that it has, if that is known: Slurm may give out a number twice.
 * @throws BgError: cannot tell, or it is not over.
 */
function findOver(number: string, name?: string): OverJob | undefined {
	const known = overJobs.get(number) ?? askOver(number, name);
	if (known) overJobs.set(number, known);
	return known;
}

function askOver(number: string, name?: string): OverJob | undefined {
	const isIt = (other: string | undefined) => !name || other === name;
	const text = attempt(() => call("scontrol", ["show", "job", number])) ?? "";
	// An element of an array may have the number of the array: then all of them are shown.
	const shown = text.split("\n\n").map(parseFields);
	const fields = shown.find(
		(each) =>
			isIt(each.get("JobName")) &&
			(shown.length === 1 || each.get("JobId") === number),
	);
	const state = fields?.get("JobState");
	if (fields && state) {
		if (phaseOf(state) !== "over") throw refused(`${number} is ${state}`);
		const [exit, node] = [fields.get("ExitCode"), fields.get("BatchHost")];
		return { shown: number, state, exit, node };
	}
	const format = ["-n", "-P", "-o", "jobid,state,exitcode,nodelist,jobname"];
	const logged =
		attempt(() => call("sacct", ["-X", ...format, "-j", number])) ||
		attempt(() => call("sacct", ["-c", ...format, "-j", number])) ||
		"";
	const lines = logged.split("\n").map((line) => line.split("|"));
	const [, ended, exit, node] =
		lines.findLast(
			([job, , , , other]) => job === number && isIt(other?.trim()),
		) ?? [];
	if (!ended || phaseOf(ended) !== "over") return undefined;
	return { shown: number, state: ended, exit, node };
}

/** @returns undefined if Slurm refuses. @throws SilentError if it does not answer. */
function attempt<T>(act: () => T): T | undefined {
	try {
		return act();
	} catch (error) {
		if (error instanceof BgError && !(error instanceof SilentError))
			return undefined;
		throw error;
	}
}

/** The job of a task as scancel(1) takes it, by what is recorded; none if it was not. */
function listJobsByRecord(
	store: Store,
	{ engine }: Task,
	found?: () => ListedJob | undefined,
): string[] {
	const { launch = "", index, job } = engine ?? {};
	if (job) return [job];
	const number = readJobNumber(store, launch) ?? found?.()?.shown.split("_")[0];
	if (!number) return [];
	return [index === undefined ? number : `${number}_${index}`];
}

/** The same; what was not recorded is asked for. */
const listJobs = (store: Store, list: JobList, task: Task): string[] =>
	listJobsByRecord(store, task, () =>
		list.read().get(jobKey(task.engine?.launch ?? "", task.engine?.index)),
	);
