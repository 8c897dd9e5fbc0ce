import { cancelTasks } from "../../control/cancel.ts";
import { parseDurationFlag } from "../../control/schedule.ts";
import { toPlain } from "../../print/text.ts";
import { sweepStore } from "../../prune/garbage.ts";
import { type PruneResult, pruneTasks } from "../../prune/prune.ts";
import { openStore } from "../../store/directory.ts";
import { formatFlags, openProgressLine, reply } from "../reply.ts";
import { defineVerb } from "../verb.ts";

const defaultTtlMs = 30 * 60_000;
const defaultStaleMs = 10 * 60_000;

export default defineVerb({
	meta: {
		name: "prune",
		description:
			"Set right what is lost, and stop what is old and does nothing",
	},
	examples: [
		["bg prune --dry-run", "only say what would happen"],
		["bg prune --ttl 2h", "end all that is older, busy or not"],
	],
	args: {
		ttl: {
			type: "string",
			valueHint: "90s|30m|2h",
			description: "how old a task may be (30m); typed, age alone decides",
		},
		stale: {
			type: "string",
			valueHint: "90s|30m|2h",
			description: "how long it may neither write nor compute (10m)",
		},
		"dry-run": { type: "boolean", description: "only say what would happen" },
		...formatFlags,
	},
	run: async ({ args }) => {
		const dryRun = args["dry-run"] ?? false;
		const ttl = parseDurationFlag("--ttl", args.ttl);
		const stale = parseDurationFlag("--stale", args.stale) ?? defaultStaleMs;
		const store = openStore({ write: !dryRun });
		const line = await openProgressLine();
		const pruned = await pruneTasks(store, {
			cancel: (id, cause) => cancelTasks(store, [id], { only: true, cause }),
			onTask: ({ id, description }) =>
				line?.show(`looking at ${id} ${description}`),
			ttl: ttl ?? defaultTtlMs,
			ageAlone: ttl !== undefined,
			stale,
			dryRun,
		});
		if (!dryRun) sweepStore(store);
		line?.clear();
		const { unreadable, ...rest } = pruned;
		const json = unreadable.length ? pruned : rest;
		reply(args, { ...json, ...(dryRun && { dryRun }) }, () =>
			describePruned(pruned, dryRun),
		);
	},
});

// --- internal ---

function describePruned(pruned: PruneResult, dryRun: boolean): string {
	const { tasks, overdue, unknown, unreadable } = pruned;
	const ending = dryRun ? "would end" : "ended";
	const lines = [
		...tasks.map(({ taskId, reason }) => `${taskId}  ${ending}: ${reason}`),
		...overdue.map(
			({ taskId, age, note }) =>
				`${taskId}  overdue: runs for ${age}, ${note ?? "and is active"}`,
		),
		...unknown.map(
			({ taskId, note }) =>
				`${taskId}  left alone: ${note} (bg complete says what came of it)`,
		),
		...unreadable.map(
			({ taskId, problem }) => `${taskId}  cannot be read: ${problem}`,
		),
	];
	return toPlain(lines.join("\n")) || "nothing to prune";
}
