/** The one table of verbs: all that is said of them elsewhere is derived from it. */
import type { VerbTable } from "./verb.ts";

export const verbs = {
	launch: { group: "start", load: () => import("./verbs/launch.ts") },
	run: { group: "start", load: () => import("./verbs/run.ts") },
	resume: { group: "start", load: () => import("./verbs/resume.ts") },
	retry: { group: "start", load: () => import("./verbs/retry.ts") },
	list: { group: "look", load: () => import("./verbs/list.ts") },
	status: { group: "look", load: () => import("./verbs/status.ts") },
	output: { group: "look", load: () => import("./verbs/output.ts") },
	report: { group: "look", load: () => import("./verbs/report.ts") },
	wait: { group: "look", load: () => import("./verbs/wait.ts") },
	watch: { group: "look", load: () => import("./verbs/watch.ts") },
	cancel: { group: "steer", load: () => import("./verbs/cancel.ts") },
	pause: { group: "steer", load: () => import("./verbs/pause.ts") },
	unpause: { group: "steer", load: () => import("./verbs/unpause.ts") },
	complete: { group: "steer", load: () => import("./verbs/complete.ts") },
	prune: { group: "keep", load: () => import("./verbs/prune.ts") },
	cleanup: { group: "keep", load: () => import("./verbs/cleanup.ts") },
	install: { group: "keep", load: () => import("./verbs/install.ts") },
	uninstall: { group: "keep", load: () => import("./verbs/uninstall.ts") },
	doctor: { group: "keep", load: () => import("./verbs/doctor.ts") },
	help: { group: "more", load: () => import("./verbs/help.ts") },
	completion: { group: "more", load: () => import("./verbs/completion.ts") },
	hook: { group: "more", load: () => import("./verbs/hook.ts") },
	"hook-complete": {
		group: "more",
		load: () => import("./verbs/hook-complete.ts"),
	},
} as const satisfies VerbTable;
