/** What an engine does, and what it says of jobs. */
import type { EngineName, Reason, Task } from "../task/schema.ts";

/** What an engine says of a job. `job`: its number. */
export type JobState =
	| { phase: "pending"; job: string; why: string }
	| { phase: "running"; job: string; node: string }
	/** `end`: how its task has ended, if nobody recorded it. `isLeaky`: whether processes may have outlived the job. */
	| { phase: "over"; job: string; end: JobEnd; isLeaky: boolean }
	/** The engine knows no such job, and no such job runs. */
	| { phase: "none"; isLeaky: boolean }
	/** The engine does not answer, or not yet: nothing follows. `job`, `node`: as they were recorded. */
	| { phase: "unknown"; why: string; job?: string; node?: string };

export type JobEnd = { reason: Reason; error: string };

/** One submission: a job, or an array of jobs. */
export type Submission = {
	/** The name of the job. */
	launch: string;
	/** One task, or those of an array. */
	tasks: readonly Task[];
	/** The user's arguments. */
	args: readonly string[];
	/** The jobs that have to end first. */
	after: readonly string[];
	/** How long to wait before the start, in ms. */
	delayMs: number;
	/** The argv of the supervisor. */
	command: readonly string[];
	env: NodeJS.ProcessEnv;
};

/** The job that this process runs in. */
export type OwnJob = {
	/** As in an identity: `<engine>:<cluster>:<number>`. */
	identity: string;
	/** Its number, with the place in its array. */
	job: string;
	node: string;
	/** How often it was started again. */
	run: number;
	/** The place in the array, from 0. */
	index: number;
};

/**
 * Why a job is being ended. `end`: how its task ends by that; absent if the engine does not say. `again`: the job
 * will be started again.
 */
export type StopCause = { end?: JobEnd; again: boolean };

export type Engine = {
	name: EngineName;
	/**
	 * Submits jobs, as a whole.
	 * @returns the number of the job.
	 * @throws BgError: usage for the user's arguments, refused in the engine's words.
	 */
	submit(submission: Submission): string;
	/** The states of jobs; one call for all of them. A state is at most 5 s old, or as of the last `refresh`. */
	statesOf(tasks: readonly Task[]): JobState[];
	/**
	 * Asks for the states of all jobs in the background. From the first call on, `statesOf` does not ask. Never fails.
	 * @returns whether the answer is another one than the last, and how many jobs it lists.
	 */
	refresh(): Promise<{ isNews: boolean; jobs: number }>;
	/** Why the engine did not answer when it was asked last for the states of jobs; undefined if it did. */
	problem(): string | undefined;
	/** How many jobs of the store have not ended. @throws BgError (refused) if the engine does not say. */
	countJobs(): number;
	/** Whether there is a job of a submission. @throws BgError (refused) if the engine does not say. */
	hasJob(launch: string): boolean;
	/**
	 * Tells supervisors that a record changed, in one call, for which this process does not have to wait.
	 * @returns a promise, which is never rejected, of whether the engine took it. If it did not, the supervisors look
	 * at their records within 10 s.
	 */
	ring(tasks: readonly Task[]): Promise<boolean>;
	/** Removes jobs that have not started and ends others, in one call. @throws BgError (refused). */
	cancel(tasks: readonly Task[]): void;
	/** The job that this process runs in; undefined outside of jobs. */
	here(env?: NodeJS.ProcessEnv): OwnJob | undefined;
	/** Asks why this job got a signal to end. */
	whyStopped(own: OwnJob): StopCause;
	/** Whether a job lives. */
	checkJob(identity: string): "alive" | "gone" | "unknown";
};
