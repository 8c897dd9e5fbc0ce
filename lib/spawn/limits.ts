/**
 * The limits on running, queued and kept tasks, and the priorities of the queue. The environment of a launch
 * sets limits for its tasks; limits that `bg limit` sets for the store come before those.
 */
import { rmSync } from "node:fs";
import * as v from "valibot";
import { errorMessage, ifExists, refused, usage } from "../error.ts";
import { readFile, replaceFile } from "../store/files.ts";
import { limitsFile, type Store } from "../store/paths.ts";

/** The limits and their defaults; 0 is no limit. */
const defaultLimits = {
	BG_MAX_RUNNING: 8,
	BG_MAX_PER_DROID: 0,
	BG_MAX_DEPTH: 3,
	BG_MAX_QUEUED: 1000,
} as const;

export type Limits = Record<keyof typeof defaultLimits, number>;

/** Priorities order the queue: the higher one starts first. */
export const priorities = { lowest: -999, usual: 0, highest: 999 } as const;

const Count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** The limits of a store, for each depth and machine; 0 is no limit, and what is absent is not set. */
const StoreLimits = v.object({
	running: v.optional(Count),
	droid: v.optional(v.record(v.string(), Count), {}),
	model: v.optional(v.record(v.string(), Count), {}),
});
export type StoreLimits = v.InferOutput<typeof StoreLimits>;

/**
 * Reads the limits; no limit is Infinity.
 * @throws BgError (usage) if one is not a number.
 */
export function readLimits(env: NodeJS.ProcessEnv = process.env): Limits {
	readKeptCount(env);
	const entries = Object.entries(defaultLimits).map(([name, usual]) => [
		name,
		readLimit(name, usual, env),
	]);
	return Object.fromEntries(entries) as Limits;
}

/**
 * Reads how many finished tasks stay in the folder; older ones are archived (prune/archive.ts).
 * @throws BgError (usage) if it is not a number.
 */
export const readKeptCount = (env: NodeJS.ProcessEnv = process.env): number =>
	readLimit("BG_KEEP", 1000, env);

/** A count as a limit: 0 is none. */
export const toLimit = (count: number) => count || Number.POSITIVE_INFINITY;

/** Reads the limits of the store. @throws BgError (refused) if they cannot be read. */
export function readStoreLimits(store: Store): StoreLimits {
	const path = limitsFile(store);
	try {
		const text = ifExists(() => readFile(store, path));
		return v.parse(StoreLimits, text === undefined ? {} : JSON.parse(text));
	} catch (error) {
		throw refused(
			`the limits in ${path} cannot be read: ${errorMessage(error)} (fix or remove it)`,
		);
	}
}

/** Writes the limits of the store; none are left if the argument has none. */
export function writeStoreLimits(store: Store, limits: StoreLimits): void {
	const path = limitsFile(store);
	const { running, droid, model } = limits;
	const isEmpty =
		running === undefined && Object.keys({ ...droid, ...model }).length === 0;
	if (isEmpty) rmSync(path, { force: true });
	else replaceFile(store, { path, text: `${JSON.stringify(limits)}\n` });
}

// --- internal ---

function readLimit(name: string, usual: number, env: NodeJS.ProcessEnv) {
	const given = env[name] || String(usual);
	if (!/^\d{1,6}$/.test(given))
		throw usage(
			`${name} is ${JSON.stringify(given)}: it takes a number, 0 for no limit`,
		);
	return toLimit(Number(given));
}
