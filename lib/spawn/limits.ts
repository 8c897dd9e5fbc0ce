/** The limits that the environment sets on running and queued tasks, and the priorities of the queue. */
import { usage } from "../error.ts";

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

/**
 * Reads the limits; no limit is Infinity.
 * @throws BgError (usage) if one is not a number.
 */
export function readLimits(env: NodeJS.ProcessEnv = process.env): Limits {
	const entries = Object.entries(defaultLimits).map(([name, usual]) => {
		const given = env[name] || String(usual);
		if (!/^\d{1,6}$/.test(given))
			throw usage(
				`${name} is ${JSON.stringify(given)}: it takes a number, 0 for no limit`,
			);
		return [name, Number(given) || Number.POSITIVE_INFINITY];
	});
	return Object.fromEntries(entries) as Limits;
}
