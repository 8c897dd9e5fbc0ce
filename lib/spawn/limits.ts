/**
 * The limits on running, queued and kept tasks, and the priorities of the queue. The environment of a launch
 * sets limits for its tasks; limits that `bg limit` sets for the store come before those.
 */
import { rmSync } from "node:fs";
import * as v from "valibot";
import {
	errorMessage,
	ifExists,
	refused,
	usage,
	wrapWriteErrors,
} from "../error.ts";
import { toLine } from "../print/text.ts";
import { readFile, replaceFile } from "../store/files.ts";
import { withLock } from "../store/locks.ts";
import { limitsFile, limitsLock, type Store } from "../store/paths.ts";
import { lockTimeoutMs } from "../store/records.ts";

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

/** What `bg limit` limits: all running tasks, or those of one droid or model. */
export const limitKinds = ["running", "droid", "model"] as const;

/** A limit of a store. Only `running` has no name. */
export type LimitKey = { kind: (typeof limitKinds)[number]; name: string };

/** The limits in force for a launch from here; 0 is no limit. */
export type LimitsInForce = {
	running: number;
	per_droid: number;
	droid: Readonly<Record<string, number>>;
	model: Readonly<Record<string, number>>;
};

/**
 * Reads the limits in force for a launch from here: those of the store come before those of `env`.
 * @throws BgError: usage if a variable is not a number, refused if those of the store cannot be read.
 */
export function readLimitsInForce(
	store: Store,
	env: NodeJS.ProcessEnv = process.env,
): LimitsInForce {
	const { running, droid, model } = readStoreLimits(store);
	const { BG_MAX_RUNNING, BG_MAX_PER_DROID } = readLimits(env);
	return {
		running: running ?? toCount(BG_MAX_RUNNING),
		per_droid: toCount(BG_MAX_PER_DROID),
		droid,
		model,
	};
}

/** Describes limits in one line: `limits: running 8, droid reviewer 1`. */
export function describeLimits(limits: LimitsInForce): string {
	const { running, per_droid, droid, model } = limits;
	const say = (what: string, count: number) =>
		`${toLine(what, 80)} ${count || "none"}`;
	const parts = [
		say("running", running),
		...(per_droid ? [say("per droid", per_droid)] : []),
		...Object.entries(droid).map(([name, count]) =>
			say(`droid ${name}`, count),
		),
		...Object.entries(model).map(([name, count]) =>
			say(`model ${name}`, count),
		),
	];
	return `limits: ${parts.join(", ")}`;
}

/** The limits in force for a task whose launch had these: those of the store come first. */
export function resolveLimits(
	{ running, droid: droids }: StoreLimits,
	droid: string,
	{
		BG_MAX_RUNNING,
		BG_MAX_PER_DROID,
	}: Pick<Limits, "BG_MAX_RUNNING" | "BG_MAX_PER_DROID">,
): { running: number; perDroid: number } {
	return {
		running: running === undefined ? BG_MAX_RUNNING : toLimit(running),
		perDroid: findLimit(droids, droid) ?? BG_MAX_PER_DROID,
	};
}

/** The limit that is set for a name; undefined if none is. */
export const findLimit = (
	counts: Readonly<Record<string, number>>,
	name: string,
): number | undefined =>
	Object.hasOwn(counts, name) ? toLimit(counts[name] ?? 0) : undefined;

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

/**
 * Sets a limit of the store. It has a lock, so of two calls at once none is lost.
 * @param count 0 is no limit; undefined unsets it.
 * @returns the count that was set before; undefined if none was.
 * @throws BgError: usage for a name that cannot be kept, refused if the limits cannot be read or written.
 */
export function setStoreLimit(
	store: Store,
	{ kind, name }: LimitKey,
	count: number | undefined,
): number | undefined {
	const lock = { name: limitsLock, timeoutMs: lockTimeoutMs };
	return withLock(store, lock, () => {
		const limits = readStoreLimits(store);
		if (kind === "running") {
			writeStoreLimits(store, { ...limits, running: count });
			return limits.running;
		}
		const { [name]: before, ...others } = limits[kind];
		const counts = count === undefined ? others : { ...others, [name]: count };
		const next = v.parse(StoreLimits, { ...limits, [kind]: counts });
		// The parser drops names such as "constructor".
		if (count !== undefined && !Object.hasOwn(next[kind], name))
			throw usage(`a ${kind} named ${JSON.stringify(name)} cannot be limited`);
		writeStoreLimits(store, next);
		return Object.hasOwn(limits[kind], name) ? before : undefined;
	});
}

// --- internal ---

/** A limit as a count: 0 is no limit. */
const toCount = (limit: number) => (Number.isFinite(limit) ? limit : 0);

/** Writes the limits of the store; none are left if the argument has none. */
function writeStoreLimits(store: Store, limits: StoreLimits): void {
	const path = limitsFile(store);
	const { running, droid, model } = limits;
	const isEmpty =
		running === undefined && Object.keys({ ...droid, ...model }).length === 0;
	const text = `${JSON.stringify(limits)}\n`;
	wrapWriteErrors(path, () =>
		isEmpty
			? rmSync(path, { force: true })
			: replaceFile(store, { path, text }),
	);
}

function readLimit(name: string, usual: number, env: NodeJS.ProcessEnv) {
	const given = env[name] || String(usual);
	if (!/^\d{1,6}$/.test(given))
		throw usage(
			`${name} is ${JSON.stringify(given)}: it takes a number, 0 for no limit`,
		);
	return toLimit(Number(given));
}
