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
import type { Task } from "../task/schema.ts";
import type { Engine, JobState } from "./types.ts";

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

/** How often an engine is asked in the background, in ms: at most, and for each job that it lists. */
const followIntervalMs = 5000;
const followJobMs = 1;

/**
 * Asks the engine of a store in the background, from now on, if the store has one: questions are answered from what it
 * said last, and never wait. `onAnswer` is called after each answer that is another one than the last.
 * @returns a function that ends this.
 */
export function followEngine(store: Store, onAnswer: () => void): () => void {
	let timer: NodeJS.Timeout | undefined;
	let isEnded = false;
	const ask = async () => {
		const own = engine ?? (await loadEngineOf(store));
		const answer = await own?.refresh();
		if (isEnded) return;
		const pauseMs = (answer?.jobs ?? 0) * followJobMs;
		timer = setTimeout(ask, Math.max(followIntervalMs, pauseMs));
		if (answer?.isNews) onAnswer();
	};
	void ask();
	return () => {
		isEnded = true;
		clearTimeout(timer);
	};
}

/** The loaded engine; undefined if none was needed. */
export const loadedEngine = (): Engine | undefined => engine;
