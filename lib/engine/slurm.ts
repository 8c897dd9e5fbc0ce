/**
 * Slurm. Measured on 22.05: a job's number may be given out twice, so a job is asked for by its name; a controller that
 * is down blocks every program for 9 s and more, so each call is capped.
 */
import { BgError, refused } from "../error.ts";
import { toLine } from "../print/text.ts";
import { sleepSync } from "../process/runtime.ts";
import { quoteForShell } from "../process/self.ts";
import type { Store } from "../store/paths.ts";
import { jobsFolder } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import { JobList } from "./job-list.ts";
import { call, callAside, SilentError } from "./programs.ts";
import {
	describeEnd,
	formatRanges,
	jobKey,
	type OverJob,
	parseFields,
	parseStopCause,
	phaseOf,
	scriptExits,
} from "./slurm-answers.ts";
import { groupBy, listSubmitted, readJobNumber } from "./submissions.ts";
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
					submitted.has(launch) && attempt(() => phaseOf(state)) !== "over",
			);
			return jobs.length;
		},
		hasJob: (launch) =>
			[...list.read().values()].some((job) => job.launch === launch),
		ring: async (tasks) => {
			try {
				const jobs = listJobs(store, list, tasks);
				if (jobs.length === 0) return true;
				const flags = ["--batch", "--signal=URG"];
				return await callAside("scancel", [...flags, ...jobs]);
			} catch (error) {
				if (error instanceof BgError) return false;
				throw error;
			}
		},
		cancel: (tasks) => {
			const jobs = listJobs(store, list, tasks);
			if (jobs.length) call("scancel", ["--quiet", ...jobs]);
		},
		here,
		whyStopped: ({ job, run }) => {
			const own = process.env.SLURM_JOB_NAME;
			// A controller that stops many jobs may be slow. It waits 30 s (KillWait) before it kills: time is left to stop.
			for (let tries = 1; ; tries++)
				try {
					// By its place in an array: by its number alone, all of the array may be shown.
					const text = call("scontrol", ["--all", "show", "job", job]);
					if (parseFields(text).get("JobName") !== own)
						throw refused("another job");
					return parseStopCause(text, { job, run });
				} catch (error) {
					if (!(error instanceof BgError)) throw error;
					if (!(error instanceof SilentError) || tries === 4)
						return { again: false };
					sleepSync(500);
				}
		},
		checkJob: (identity) => {
			const [name, cluster, number = "", run = "0"] = identity.split(":");
			if (name !== "slurm") return "unknown";
			try {
				if (readConfig().get("ClusterName") !== cluster) return "unknown";
				const listed = [...list.read().values()].find(
					(job) => job.number === number,
				);
				const state = listed?.state ?? findOver(number)?.state;
				if (!state) return "unknown";
				const phase = phaseOf(state);
				// It was put back, and runs or will run elsewhere.
				if (phase === "pending") return "gone";
				if (phase === "running") {
					if (readRestarts(number) <= Number(run)) return "alive";
					// It may be the run before that is being ended.
					return state === "COMPLETING" ? "unknown" : "gone";
				}
				// Otherwise processes may outlive their job.
				const isGone = canTrackProcesses() || state === "NODE_FAIL";
				return isGone ? "gone" : "unknown";
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

let config: ReadonlyMap<string, string> | undefined;
let configProblem: { at: number; error: unknown } | undefined;

/** Reads Slurm's configuration. @throws BgError (refused): then it is not asked again for a while. */
export function readConfig(): ReadonlyMap<string, string> {
	if (config) return config;
	if (configProblem && performance.now() - configProblem.at < retryMs)
		throw configProblem.error;
	try {
		const lines = call("scontrol", ["show", "config"]).split("\n");
		config = new Map(
			lines.map((line) => {
				const [key = "", value = ""] = line.split(/\s+=\s+/);
				return [key, value.trim()];
			}),
		);
		return config;
	} catch (error) {
		configProblem = { at: performance.now(), error };
		throw error;
	}
}

/** How soon to ask again for what Slurm did not know or say, in ms. */
const retryMs = 5000;

function stateOf(store: Store, list: JobList, task: Task): JobState {
	try {
		return determineState(store, list, task);
	} catch (error) {
		if (error instanceof SilentError) list.noteProblem(error);
		if (!(error instanceof BgError)) throw error;
		const { node } = task.engine ?? {};
		const known = readRecordedJob(store, task);
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
	const number = listed?.number ?? own ?? readRecordedJob(store, task);
	let over = number ? findOver(number, launch) : undefined;
	if (!listed) over ??= findCancelledArray(store, task);
	const isLeaky = attempt(canTrackProcesses) === false;
	if (!over && !listed) {
		assertAllNodesReported();
		return { phase: "none", isLeaky };
	}
	const shown = listed?.shown ?? engine?.job ?? number ?? "";
	const known: OverJob = over ?? { shown, state: listed?.state ?? "" };
	return {
		phase: "over",
		job: shown,
		end: describeEnd({ ...known, shown }),
		isLeaky,
	};
}

/**
 * Of the places of an array that were cancelled together before they started, Slurm keeps one job, which has the
 * array's number and never had a node.
 * @throws BgError: cannot tell.
 */
function findCancelledArray(
	store: Store,
	{ engine, supervisor }: Task,
): OverJob | undefined {
	if (engine?.index === undefined || supervisor) return undefined;
	const { launch = "" } = engine;
	const number = readJobNumber(store, launch);
	const over = number ? findOver(number, launch) : undefined;
	const wasPending = /^(\(null\)|None assigned|)$/.test(over?.node ?? "");
	return over?.state.startsWith("CANCELLED") && wasPending ? over : undefined;
}

let silence: { until: number; error: BgError } | undefined;

/**
 * A controller that has lost its state learns from the nodes which jobs run.
 * @throws BgError (refused) if a node has not reported since it started. Then it is not asked again for a while.
 */
function assertAllNodesReported(): void {
	if (silence && performance.now() < silence.until) throw silence.error;
	const nodes = call("sinfo", ["-h", "-a", "-t", "unknown", "-o", "%N"]).trim();
	if (!nodes) return;
	const error = refused(
		`Slurm does not know the job and has not heard from ${toLine(nodes, 100)} since it started`,
	);
	silence = { until: performance.now() + retryMs, error };
	throw error;
}

/** What is known of jobs that are over, by number and name; `until` when a job that Slurm does not know is asked for again. */
const overJobs = new Map<string, { job?: OverJob; until: number }>();

/**
 * A job that is over: of the controller while it knows it, else of the log of ended jobs.
 * @param name the name that it has, if that is known: Slurm may give out a number twice.
 * @throws BgError: cannot tell, or it is not over.
 */
function findOver(number: string, name?: string): OverJob | undefined {
	const key = `${number} ${name}`;
	const known = overJobs.get(key);
	if (known && performance.now() < known.until) return known.job;
	const job = askOver(number, name);
	const until = performance.now() + retryMs;
	overJobs.set(key, job ? { job, until: Number.POSITIVE_INFINITY } : { until });
	return job;
}

function askOver(number: string, name?: string): OverJob | undefined {
	const isIt = (other: string | undefined) => !name || other === name;
	const fields = showJob(number, isIt);
	const state = fields?.get("JobState");
	if (fields && state) {
		if (phaseOf(state) !== "over") throw refused(`${number} is ${state}`);
		const [exit, node] = [fields.get("ExitCode"), fields.get("BatchHost")];
		return { shown: number, state, exit, node };
	}
	// An element of an array is `30_4` and has a number of its own as well, which is the only one in Slurm's log file.
	const column = number.includes("_") ? "jobid" : "jobidraw";
	const logged =
		attempt(() => callSacct("-X", column, number)) ||
		attempt(() => callSacct("-c", "jobid", number)) ||
		"";
	const lines = logged.split("\n").map((line) => line.split("|"));
	const [, ended, exit, node] =
		lines.findLast(
			([job, , , , other]) => job === number && isIt(other?.trim()),
		) ?? [];
	if (!ended || phaseOf(ended) !== "over") return undefined;
	return { shown: number, state: ended, exit, node };
}

const callSacct = (flag: string, id: string, number: string) => {
	const fields = `${id},state,exitcode,nodelist,jobname`;
	return call("sacct", [flag, "-n", "-P", "-o", fields, "-j", number]);
};

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

/** How often a job was started again. */
const readRestarts = (number: string): number =>
	Number(showJob(number)?.get("Restarts") ?? 0);

/** Whether no process of a job outlives it. */
const canTrackProcesses = (): boolean =>
	readConfig().get("ProctrackType") === "proctrack/cgroup";

/** What the controller shows of a job; undefined if it does not know it. @throws BgError (refused): cannot tell. */
function showJob(
	number: string,
	isIt: (name: string | undefined) => boolean = () => true,
): Map<string, string> | undefined {
	let text = "";
	try {
		text = call("scontrol", ["--all", "show", "job", number]);
	} catch (error) {
		const isUnknown = /invalid job id|job \S+ not found/i;
		if (!(error instanceof BgError && isUnknown.test(error.message)))
			throw error;
	}
	// An element of an array may have the number of the array: then all of them are shown.
	const shown = text.split("\n\n").map(parseFields);
	return shown.find(
		(each) =>
			isIt(each.get("JobName")) &&
			(shown.length === 1 || each.get("JobId") === number),
	);
}

/** The jobs of tasks as scancel(1) takes them: the places of an array together, which is one request. */
function listJobs(
	store: Store,
	list: JobList,
	tasks: readonly Task[],
): string[] {
	const groups = groupBy(tasks, ({ engine }) => engine?.launch ?? "");
	return groups.flatMap((group) => {
		const [first] = group;
		const launch = first?.engine?.launch ?? "";
		const key = jobKey(launch, first?.engine?.index);
		const number =
			readJobNumber(store, launch) ??
			first?.engine?.job?.split("_")[0] ??
			attempt(() => list.read().get(key)?.shown.split("_")[0]);
		if (!number) return [];
		const indexes = group.flatMap(({ engine }) => engine?.index ?? []);
		const places = indexes.length ? `_[${formatRanges(indexes)}]` : "";
		return [`${number}${places}`];
	});
}

/** The job of a task by what is recorded, as users type it. */
function readRecordedJob(store: Store, { engine }: Task): string | undefined {
	const { launch = "", index, job } = engine ?? {};
	if (job) return job;
	const number = readJobNumber(store, launch);
	return number && (index === undefined ? number : `${number}_${index}`);
}
