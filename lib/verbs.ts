/** The one table of verbs: all that is said of them elsewhere is derived from it. */
import type { VerbTable } from "./verb.ts";

export const verbs = {
	launch: {
		group: "start",
		load: async () => (await import("./commands/launch.ts")).launch,
	},
	run: {
		group: "start",
		load: async () => (await import("./commands/run.ts")).run,
	},
	resume: {
		group: "start",
		load: async () => (await import("./commands/again.ts")).resume,
	},
	retry: {
		group: "start",
		load: async () => (await import("./commands/again.ts")).retry,
	},
	list: {
		group: "look",
		load: async () => (await import("./commands/list.ts")).list,
	},
	status: {
		group: "look",
		load: async () => (await import("./commands/status.ts")).status,
	},
	output: {
		group: "look",
		load: async () => (await import("./commands/output.ts")).output,
	},
	report: {
		group: "look",
		load: async () => (await import("./commands/report.ts")).report,
	},
	wait: {
		group: "look",
		load: async () => (await import("./commands/wait.ts")).wait,
	},
	watch: {
		group: "look",
		load: async () => (await import("./commands/watch.ts")).watch,
	},
	cancel: {
		group: "steer",
		load: async () => (await import("./commands/cancel.ts")).cancel,
	},
	pause: {
		group: "steer",
		load: async () => (await import("./commands/pause.ts")).pause,
	},
	unpause: {
		group: "steer",
		load: async () => (await import("./commands/pause.ts")).unpause,
	},
	complete: {
		group: "steer",
		load: async () => (await import("./commands/complete.ts")).complete,
	},
	prune: {
		group: "keep",
		load: async () => (await import("./commands/prune.ts")).prune,
	},
	cleanup: {
		group: "keep",
		load: async () => (await import("./commands/cleanup.ts")).cleanup,
	},
	install: {
		group: "keep",
		load: async () => (await import("./commands/install.ts")).install,
	},
	uninstall: {
		group: "keep",
		load: async () => (await import("./commands/install.ts")).uninstall,
	},
	doctor: {
		group: "keep",
		load: async () => (await import("./commands/doctor.ts")).doctor,
	},
	help: {
		group: "more",
		load: async () => (await import("./commands/help.ts")).help,
	},
	completion: {
		group: "more",
		load: async () => (await import("./commands/completion.ts")).completion,
	},
	hook: {
		group: "more",
		load: async () => (await import("./commands/hook.ts")).hook,
	},
	"hook-complete": {
		group: "more",
		load: async () => (await import("./commands/hook.ts")).hookComplete,
	},
} as const satisfies VerbTable;
