/**
 * Engines: schedulers that decide where and when a task's supervisor runs, and nothing else. The supervisor is the
 * job. Without an engine it runs on this machine.
 *
 * An engine's code is loaded only by launches that name it and in stores that had such launches. What it answers is
 * input from outside.
 */
import { existsSync } from "node:fs";
import { BgError } from "../error.ts";
import { setJobCheck } from "../process/identity.ts";
import { jobsFolder, type Store } from "../store/paths.ts";
import type { EngineName, Reason, Task } from "../task/schema.ts";

/** What an engine says of a job. `job`: its number. */
export type JobState =
	| { phase: "pending"; job: string; why: string }
	| { phase: "running"; job: string; node: string }
	/** `end`: how its task has ended, if nobody recorded it. */
	| { phase: "over"; job: string; end: JobEnd }
	/** The engine knows no such job. */
	| { phase: "none" }
	/** The engine does not answer, or not yet: nothing follows. */
	| { phase: "unknown"; why: string };

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

/** Why a job is being ended. `again`: it will be started again. */
export type StopCause = { end: JobEnd; again: boolean };

export type Engine = {
	name: EngineName;
	/**
	 * Submits jobs, as a whole.
	 * @returns the number of the job.
	 * @throws BgError: usage for the user's arguments, refused in the engine's words.
	 */
	submit(submission: Submission): string;
	/** The states of jobs; one call for all of them. A state is at most `maxAgeMs` old. */
	statesOf(tasks: readonly Task[]): JobState[];
	/** Whether there is a job of a submission. @throws BgError (refused) if the engine does not say. */
	hasJob(launch: string): boolean;
	/** Tells supervisors that a record changed. Never fails: they look at their records from time to time. */
	ring(tasks: readonly Task[]): void;
	/** Removes jobs that have not started and ends others, in one call. @throws BgError (refused). */
	cancel(tasks: readonly Task[]): void;
	/** The job that this process runs in; undefined outside of jobs. */
	here(env?: NodeJS.ProcessEnv): OwnJob | undefined;
	/** Asks why this job got a signal to end. */
	whyStopped(own: OwnJob): StopCause;
	/** Whether a job lives. */
	checkJob(identity: string): "alive" | "gone" | "unknown";
};

let engine: Engine | undefined;

/** Loads the engine of a store, once. There is one kind. */
export async function loadEngine(store: Store): Promise<Engine> {
	if (engine) return engine;
	engine = (await import("./slurm.ts")).createSlurm(store);
	setJobCheck(engine.checkJob);
	return engine;
}

/** Loads the engine if the store had launches with one. Call it before records are reconciled. */
export async function loadEngineOf(store: Store): Promise<Engine | undefined> {
	return existsSync(jobsFolder(store)) ? loadEngine(store) : undefined;
}

/** The state of the job of a task: unknown if no engine is loaded. */
export function jobStateOf(task: Task): JobState {
	if (!engine) return { phase: "unknown", why: "its engine was not asked" };
	try {
		const [state] = engine.statesOf([task]);
		return state ?? { phase: "unknown", why: "it was not asked" };
	} catch (error) {
		if (error instanceof BgError)
			return { phase: "unknown", why: error.message };
		throw error;
	}
}

/** The loaded engine; undefined if none was needed. */
export const loadedEngine = (): Engine | undefined => engine;
