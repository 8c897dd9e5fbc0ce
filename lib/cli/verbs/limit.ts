import { assertOutsideTasks } from "../../control/autonomy.ts";
import { checkDroidName, checkModel } from "../../control/launch/options.ts";
import { usage } from "../../error.ts";
import { formatTable } from "../../print/table.ts";
import { suggestWord, toLine } from "../../print/text.ts";
import { describeMachine } from "../../process/machine.ts";
import { QueueState, type Usage } from "../../prune/queue-state.ts";
import { handOver } from "../../spawn/hand-over.ts";
import {
	findLimit,
	type LimitKey,
	type LimitsInForce,
	limitKinds,
	readLimits,
	readLimitsInForce,
	readStoreLimits,
	type StoreLimits,
	setStoreLimit,
	toLimit,
} from "../../spawn/limits.ts";
import { isQueuePaused } from "../../spawn/queue.ts";
import { openStore } from "../../store/directory.ts";
import { notifyWaiters } from "../../store/ends.ts";
import { splitValues } from "../arguments.ts";
import { formatFlags, reply } from "../reply.ts";
import { defineVerb, optional } from "../verb.ts";

/** The word that unsets a limit. */
const unsetWord = "default";

export default defineVerb({
	name: "limit",
	description: "Limit what runs at once, or show the limits",
	group: "control",
	examples: {
		"bg limit": "the limits in force, and what is in use",
		"bg limit running 3":
			"at most 3 tasks at once, at each depth and on each machine",
		"bg limit droid reviewer 1":
			"at most one task of the droid reviewer at once",
		"bg limit model opus 0": "no limit on a model",
		"bg limit running default":
			"unsets it: BG_MAX_RUNNING of each launch applies again",
	},
	args: {
		limit: optional("what to limit (without it: shows all)", {
			from: limitKinds,
		}),
		values: optional(
			`the number (0: no limit, ${unsetWord}: unset); for droid and model, first the name`,
			{ multiple: true },
		),
		...formatFlags,
	},
	run: ({ args }) => {
		const wanted =
			args.limit === undefined
				? undefined
				: parseLimit(args.limit, splitValues(args.values));
		if (wanted) assertOutsideTasks("setting a limit");
		// A variable that is not a number is refused before anything is set.
		readLimits();
		const store = openStore({ write: wanted !== undefined });
		let changed: Change | undefined;
		if (wanted) {
			const { key, count } = wanted;
			const before = setStoreLimit(store, key, count);
			const name = key.name ? { name: key.name } : {};
			const now = count ?? unsetWord;
			changed = {
				limit: key.kind,
				...name,
				before: before ?? unsetWord,
				now,
			};
			handOver(store);
			notifyWaiters(store);
		}
		const limits = readLimitsInForce(store);
		const set = readStoreLimits(store);
		const usages = new QueueState(store).listUsages();
		const paused = isQueuePaused(store);
		const json = {
			...(changed && { changed }),
			limits,
			set,
			queue: { paused },
			in_use: usages.map(({ isHere, ...usage }) => ({
				...usage,
				here: isHere,
			})),
		};
		reply(args, json, () =>
			[
				...(changed ? [describeChange(changed)] : []),
				...(paused ? ["the queue is paused"] : []),
				formatTable(
					[
						...listLimits(limits, set),
						...usages.map((usage) => describeUsage(usage, limits)),
					].map((row) => row.map((cell) => toLine(cell, 200))),
				),
			].join("\n"),
		);
	},
});

// --- internal ---

type Change = {
	limit: LimitKey["kind"];
	name?: string;
	before: number | typeof unsetWord;
	now: number | typeof unsetWord;
};

/** Parses `running 3`, `droid reviewer 1`, `model opus default`. @throws BgError (usage). */
function parseLimit(
	given: string,
	values: readonly string[],
): { key: LimitKey; count: number | undefined } {
	const kind = limitKinds.find((each) => each === given);
	if (!kind)
		throw usage(
			`there is no limit ${JSON.stringify(given)}${suggestWord(given, limitKinds)}: there are ${limitKinds.join(", ")}`,
		);
	const isNamed = kind !== "running";
	if (values.length !== (isNamed ? 2 : 1))
		throw usage(
			`bg limit ${kind} takes ${isNamed ? "a name and " : ""}a number: 0 for no limit, ${unsetWord} to unset it`,
		);
	const [word = "", name = ""] = [...values].reverse();
	if (kind === "droid") checkDroidName(name);
	if (kind === "model" && !checkModel(name))
		throw usage("the name of the model is empty");
	if (word === unsetWord) return { key: { kind, name }, count: undefined };
	if (!/^\d{1,6}$/.test(word))
		throw usage(
			`bg limit ${kind} ${JSON.stringify(word)}: it takes a number, 0 for no limit, or ${unsetWord} to unset it`,
		);
	return { key: { kind, name }, count: Number(word) };
}

const describeChange = ({ limit, name, before, now }: Change) => {
	const say = (count: number | string) => (count === 0 ? "no limit" : count);
	return `limit ${[limit, name].filter(Boolean).join(" ")}: ${say(now)} (before: ${say(before)})`;
};

/** The limits, one in a row, and where each comes from. */
function listLimits(limits: LimitsInForce, set: StoreLimits): string[][] {
	const { running, per_droid, droid, model } = limits;
	const say = (count: number) =>
		`at most ${count}`.replace(/.* 0$/, "no limit");
	const source = (variable: string) => `${variable} of each launch, here`;
	return [
		[
			"running",
			say(running),
			set.running === undefined ? source("BG_MAX_RUNNING") : "set",
		],
		...(per_droid
			? [["each droid", say(per_droid), source("BG_MAX_PER_DROID")]]
			: []),
		...Object.entries(droid).map(([name, count]) => [
			`droid ${name}`,
			say(count),
			"set",
		]),
		...Object.entries(model).map(([name, count]) => [
			`model ${name}`,
			say(count),
			"set",
		]),
	];
}

/** What is in use at one depth of one machine. */
function describeUsage(usage: Usage, limits: LimitsInForce): string[] {
	const { machine, isHere, depth, running, queued } = usage;
	const of = (count: number, limit = Number.POSITIVE_INFINITY) =>
		Number.isFinite(limit) ? `${count} of ${limit}` : `${count}`;
	const perDroid = toLimit(limits.per_droid);
	const named = [
		...Object.entries(usage.droid).map(
			([name, count]) =>
				`droid ${name} ${of(count, findLimit(limits.droid, name) ?? perDroid)}`,
		),
		...Object.entries(usage.model).map(
			([name, count]) =>
				`model ${name} ${of(count, findLimit(limits.model, name))}`,
		),
	];
	return [
		`depth ${depth}${isHere ? "" : ` ${describeMachine(machine)}`}`,
		`${of(running, toLimit(limits.running))} running`,
		[`${queued} queued`, ...named].join(", "),
	];
}
