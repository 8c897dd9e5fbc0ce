/** The table of verbs, in the order of the help. */
import type { VerbTable } from "./verb.ts";

export const verbs = {
	launch: () => import("./verbs/launch.ts"),
	run: () => import("./verbs/run.ts"),
	resume: () => import("./verbs/resume.ts"),
	retry: () => import("./verbs/retry.ts"),
	list: () => import("./verbs/list.ts"),
	status: () => import("./verbs/status.ts"),
	output: () => import("./verbs/output.ts"),
	report: () => import("./verbs/report.ts"),
	wait: () => import("./verbs/wait.ts"),
	watch: () => import("./verbs/watch.ts"),
	cancel: () => import("./verbs/cancel.ts"),
	pause: () => import("./verbs/pause.ts"),
	unpause: () => import("./verbs/unpause.ts"),
	complete: () => import("./verbs/complete.ts"),
	prune: () => import("./verbs/prune.ts"),
	cleanup: () => import("./verbs/cleanup.ts"),
	install: () => import("./verbs/install.ts"),
	uninstall: () => import("./verbs/uninstall.ts"),
	doctor: () => import("./verbs/doctor.ts"),
	help: () => import("./verbs/help.ts"),
	completion: () => import("./verbs/completion.ts"),
	hook: () => import("./verbs/hook.ts"),
	"hook-complete": () => import("./verbs/hook-complete.ts"),
} as const satisfies VerbTable;
