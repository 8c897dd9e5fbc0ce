/**
 * A supervisor that is a job of an engine: how it takes its task over, and waits for the task's turn. It has no slot:
 * the engine decides when it starts.
 */
import { setTimeout as delay } from "node:timers/promises";
import {
	isSubmissionPending,
	readSubmission,
} from "../../engine/submissions.ts";
import type { Engine, OwnJob } from "../../engine/types.ts";
import { ifExists } from "../../error.ts";
import { identifySelf } from "../../process/identity.ts";
import { settleAbandoned } from "../../prune/withdraw.ts";
import { checkReadiness, findEnd } from "../../spawn/dependencies.ts";
import { taskEnvVariable } from "../../spawn/environment.ts";
import type { WaitOptions } from "../../spawn/waiting.ts";
import { readFile } from "../../store/files.ts";
import { keepAttemptOutput } from "../../store/output-files.ts";
import { environmentFile, type Store } from "../../store/paths.ts";
import {
	findTask,
	readRecordVersion,
	updateTaskAsync,
} from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import {
	computeDelayLeftMs,
	finishTask,
	isFinal,
	requeueByEngine,
	timestamp,
} from "../../task/states.ts";
import { retryWrite } from "../retry-write.ts";

/** How often a job looks at its record if nobody rings, in ms. */
export const jobPollMs = 10_000;

/** How often it looks whether its launch is submitted, in ms. */
const submissionPollMs = 300;

/**
 * Takes over the task of this job, once its launch is submitted as a whole.
 * @param isStopping whether this process got a signal to end.
 * @returns undefined if there is nothing to run: the launch was withdrawn, the task has ended, a newer run has it, or
 * a signal came first.
 */
export async function takeJobTask(
	store: Store,
	engine: Engine,
	{ own, launch }: { own: OwnJob; launch: string },
	isStopping: () => boolean,
): Promise<Task | undefined> {
	while (isSubmissionPending(store, launch)) {
		if (isStopping()) return undefined;
		await delay(submissionPollMs);
		settleAbandoned(store, engine);
	}
	const id = readSubmission(store, launch)[own.index];
	if (id === undefined) return undefined;
	let isTaken = false;
	const task = await retryWrite(store, id, () =>
		updateTaskAsync(store, id, (now) => {
			isTaken = !isFinal(now) && !isOlder(own, now);
			return isTaken ? takeOver(store, now, own) : undefined;
		}),
	);
	if (!task || !isTaken) return undefined;
	const path = environmentFile(store, id);
	const env = ifExists(() => readFile(store, path));
	if (env) process.env[taskEnvVariable] = `{${JSON.stringify(id)}:${env}}`;
	return task;
}

/** The turns of the task of a job: it waits for other tasks and for its delay, not for a slot. */
export class JobTurns {
	readonly #store: Store;
	readonly #isReplaced: (task: Task) => boolean;
	#wake: () => void = () => {};

	/** @param isReplaced whether another job has the task. */
	constructor(store: Store, isReplaced: (task: Task) => boolean) {
		this.#store = store;
		this.#isReplaced = isReplaced;
	}

	/** The record may have changed. */
	wake(): void {
		this.#wake();
	}

	/** Resolves to true when the task may start, to false if it will never start. */
	async wait(
		task: Task,
		{ getStop, pauseMs = 0 }: WaitOptions,
	): Promise<boolean> {
		const store = this.#store;
		const { id } = task;
		const notBefore = performance.now() + pauseMs;
		for (;;) {
			const version = readRecordVersion(store, id);
			const now = findTask(store, id) ?? (version ? task : undefined);
			if (!now || isFinal(now) || now.stop || getStop?.()) return false;
			if (this.#isReplaced(now)) return false;
			const readiness = checkReadiness(now, (other) => findEnd(store, other));
			if (typeof readiness === "object") {
				const { error } = readiness;
				await retryWrite(store, id, () =>
					updateTaskAsync(store, id, (last) =>
						this.#isReplaced(last)
							? undefined
							: finishTask(last, {
									reason: "dependency",
									at: timestamp(),
									error,
								}),
					),
				);
				return false;
			}
			const pauseLeft = notBefore - performance.now();
			const left = Math.max(pauseLeft, computeDelayLeftMs(now));
			if (readiness === "free" && left <= 0) return true;
			const pause = left > 0 ? Math.min(left, jobPollMs) : jobPollMs;
			await Promise.race([
				delay(pause),
				new Promise<void>((resolve) => {
					this.#wake = resolve;
				}),
			]);
		}
	}
}

// --- internal ---

/** Whether a newer job has the task: a controller that forgot a job may run it twice. */
function isOlder(own: OwnJob, { supervisor, engine }: Task): boolean {
	const [known, mine] = [supervisor?.job, own.identity].map((identity) =>
		Number(identity?.split(":")[2] ?? 0),
	) as [number, number];
	return known > mine || (known === mine && (engine?.run ?? 0) > own.run);
}

/** The task in this job. If another job ran it before, that was an attempt. */
function takeOver(store: Store, task: Task, { job, node, run }: OwnJob): Task {
	const supervisor = identifySelf();
	const engine = task.engine && { ...task.engine, job, node, run };
	const { attempt = 1, started_at } = task;
	if (task.status === "queued") return { ...task, supervisor, engine };
	keepAttemptOutput(store, task.id, attempt);
	const error = `started again on ${node} (slurm ${job})`;
	const ended = { ...task, error, completed_at: timestamp(), started_at };
	return {
		...requeueByEngine(task, ended),
		supervisor,
		engine,
	};
}
