import { cancelTasks } from "../../control/cancel/cancel.ts";
import { parseDurationFlag } from "../../control/schedule.ts";
import { loadedEngine } from "../../engine/engine.ts";
import { toPlain } from "../../print/text.ts";
import { archiveSlice } from "../../prune/archive.ts";
import { sweepStore } from "../../prune/garbage.ts";
import { type PruneResult, pruneTasks } from "../../prune/prune.ts";
import { readKeptCount } from "../../spawn/limits.ts";
import { openStore } from "../../store/directory.ts";
import { addId, formatFlags, openProgressLine, reply } from "../reply.ts";
import { defineVerb, flag, option } from "../verb.ts";

const defaultTtlMs = 30 * 60_000;
const defaultStaleMs = 10 * 60_000;

export default defineVerb({
	name: "prune",
	description: "Mark dead tasks as lost, and stop old idle ones",
	group: "maintain",
	examples: {
		"bg prune --dry-run": "shows what prune would do",
		"bg prune --ttl 2h": "ends every older task, even an active one",
	},
	args: {
		ttl: option(
			"90s|30m|2h",
			"the maximum age (30m); if given, active tasks are ended too",
		),
		stale: option(
			"90s|30m|2h",
			"the maximum time without output or CPU time (10m)",
		),
		"dry-run": flag("change nothing, show what would happen"),
		...formatFlags,
	},
	run: async ({ args }) => {
		const dryRun = args["dry-run"] ?? false;
		const ttl = parseDurationFlag("--ttl", args.ttl);
		const keep = readKeptCount();
		const stale = parseDurationFlag("--stale", args.stale) ?? defaultStaleMs;
		const store = openStore({ write: !dryRun });
		const line = await openProgressLine();
		const pruned = await pruneTasks(store, {
			cancel: (id, cause) => cancelTasks(store, [id], { only: true, cause }),
			onTask: ({ id, description }) =>
				line?.show(`checking ${id} ${description}`),
			ttl: ttl ?? defaultTtlMs,
			ageAlone: ttl !== undefined,
			stale,
			dryRun,
		});
		if (!dryRun) {
			sweepStore(store);
			archiveSlice(store, { keep });
		}
		line?.clear();
		const { tasks, overdue, unknown, unreadable } = pruned;
		const json = {
			removed: pruned.removed,
			tasks: tasks.map(addId),
			overdue: overdue.map(addId),
			unknown: unknown.map(addId),
			...(unreadable.length && { unreadable }),
		};
		reply(args, { ...json, ...(dryRun && { dryRun }) }, () =>
			describePruned(pruned, dryRun),
		);
	},
});

// --- internal ---

function describePruned(pruned: PruneResult, dryRun: boolean): string {
	const { tasks, overdue, unreadable } = pruned;
	// That an engine does not answer is said once.
	const silence = loadedEngine()?.problem();
	const unknown = pruned.unknown.filter(
		({ note }) => !silence || !note.includes(silence),
	);
	const ending = dryRun ? "would end" : "ended";
	const lines = [
		...tasks.map(({ taskId, reason }) => `${taskId}  ${ending}: ${reason}`),
		...overdue.map(
			({ taskId, age, note }) =>
				`${taskId}  overdue: running for ${age}, ${note ?? "and active"}`,
		),
		...unknown.map(
			({ taskId, note }) =>
				`${taskId}  left alone: ${note} (bg complete records its result)`,
		),
		...unreadable.map(
			({ taskId, problem }) => `${taskId}  unreadable: ${problem}`,
		),
	];
	return toPlain(lines.join("\n")) || "nothing to prune";
}
