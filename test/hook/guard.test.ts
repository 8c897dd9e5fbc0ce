import { expect, test } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { hookGuards } from "../../lib/hook/guard.ts";
import {
	type InstallTarget,
	listDroidFiles,
} from "../../lib/install/droid-files.ts";
import { planInstall } from "../../lib/install/install.ts";
import { findOnPath } from "../../lib/process/executables.ts";
import { sandbox } from "../tools/harness.ts";

/** The shells that may be `sh` on a user's machine. */
const shells = [
	["sh"],
	["dash"],
	["bash"],
	["bash", "--posix"],
	["busybox", "sh"],
].filter(([name = ""]) => findOnPath(name));

const kinds = ["user", "project", "plugin"] as const;

/** A path that is right only if every quote is: droid puts the plugin's path into double quotes. */
const placeOf = {
	user: `it's "the" $HOME \`of\` a; user`,
	project: `it's "the" $HOME \`of\` a; user`,
	plugin: "it's the; market",
};

type Variables = Record<string, string | undefined>;

/** An installation whose program prints `started`, and the installed commands. */
function install(kind: InstallTarget["kind"]) {
	const { home } = sandbox();
	const folder = join(home, placeOf[kind], ".factory");
	const target = { kind, folder };
	const plan = planInstall(
		target,
		{ name: "bg", bytes: Buffer.from("#!/bin/sh\necho started $1\n") },
		() => undefined,
	);
	for (const { path, next } of plan) {
		mkdirSync(dirname(path), { recursive: true });
		writeFileSync(path, next?.bytes ?? "");
		chmodSync(path, next?.mode ?? 0);
	}
	const path = plan.find(({ edits }) => edits)?.path ?? "";
	const hooks = JSON.parse(
		`${plan.find((each) => each.path === path)?.next?.bytes}`,
	);
	const root = dirname(dirname(listDroidFiles(target, "bg").programs.bg));
	const commandOf = (event: string): string =>
		// As droid does it, in the text.
		hooks[event][0].hooks[0].command.replaceAll(`\${DROID_PLUGIN_ROOT}`, root);
	const project = join(folder, "..", "src");
	mkdirSync(join(project, "marks", ".due"), { recursive: true });
	const store = join(home, "a store");
	mkdirSync(join(store, ".due"), { recursive: true });
	const factory = join(home, ".factory/.omd/background-tasks/.due");
	mkdirSync(factory, { recursive: true });
	for (const due of [join(store, ".due"), factory, join(project, "marks/.due")])
		writeFileSync(join(due, "told"), "");
	/** Runs a command as droid does, and returns what bg printed: nothing if it was not started. */
	const run = (shell: string[], event: string, env: Variables) => {
		const { stdout, stderr, exitCode } = Bun.spawnSync(
			[...shell, "-c", commandOf(event)],
			{
				cwd: project,
				env: {
					PATH: process.env.PATH,
					HOME: home,
					FACTORY_PROJECT_DIR: project,
					hook_event_name: event,
					session_id: "s1",
					...env,
				},
				stdin: Buffer.from("{}"),
			},
		);
		expect([exitCode, stderr.toString()]).toEqual([0, ""]);
		return stdout.toString();
	};
	return { home, store, run, commandOf };
}

/** The variables of a hook, and whether bg must be started. `at` is a store with a mark of `told`. */
const cases: [what: string, starts: boolean, env: (at: string) => Variables][] =
	[
		["nothing is due in the home's store", false, () => ({})],
		[
			"a notice is due in the home's store",
			true,
			() => ({ session_id: "told" }),
		],
		["nothing is due in BG_DIR", false, (at) => ({ BG_DIR: at })],
		[
			"a notice is due in BG_DIR",
			true,
			(at) => ({ BG_DIR: at, session_id: "told" }),
		],
		["BG_DIR is empty, nothing is due", false, () => ({ BG_DIR: "" })],
		[
			"BG_DIR is empty, a notice is due",
			true,
			() => ({ BG_DIR: "", session_id: "told" }),
		],
		["BG_DIR is relative, nothing is due", false, () => ({ BG_DIR: "marks" })],
		[
			"BG_DIR is relative, a notice is due",
			true,
			() => ({ BG_DIR: "marks", session_id: "told" }),
		],
		[
			"BG_DIR does not exist",
			false,
			() => ({ BG_DIR: "/nowhere", session_id: "told" }),
		],
		[
			"BG_DIR without HOME, nothing is due",
			false,
			(at) => ({ BG_DIR: at, HOME: undefined }),
		],
		[
			"BG_DIR without HOME, a notice is due",
			true,
			(at) => ({ BG_DIR: at, HOME: "", session_id: "told" }),
		],
		["neither HOME nor BG_DIR is set", true, () => ({ HOME: undefined })],
		["HOME and BG_DIR are empty", true, () => ({ HOME: "", BG_DIR: "" })],
		["there is no session", true, () => ({ session_id: undefined })],
		["the session is empty", true, () => ({ session_id: "" })],
		["the session is a path", false, () => ({ session_id: "a/../b c" })],
		[
			"the session looks like code",
			false,
			() => ({ session_id: '`x` $(x) "; x' }),
		],
		[
			"inside a task, nothing is due",
			false,
			(at) => ({ BG_DIR: at, BG_TASK_ID: "bg_0123456789" }),
		],
		[
			"inside a task, a notice is due",
			true,
			(at) => ({ BG_DIR: at, BG_TASK_ID: "bg_0123456789", session_id: "told" }),
		],
	];

for (const kind of kinds)
	test.each(shells.map((shell) => [shell.join(" "), shell] as const))(
		`the ${kind}'s guarded hook starts bg under %s only if there may be work`,
		(_, shell) => {
			const { store, run } = install(kind);
			for (const event of Object.keys(hookGuards))
				for (const [what, starts, env] of cases)
					expect([event, what, run(shell, event, env(store))]).toEqual([
						event,
						what,
						starts ? "started hook\n" : "",
					]);
		},
	);

test.each(shells.map((shell) => [shell.join(" "), shell] as const))(
	"the Task tool always starts bg under %s, and no other tool does",
	(_, shell) => {
		for (const kind of kinds) {
			const { run } = install(kind);
			const start = (tool_name?: string) =>
				run(shell, "PostToolUse", { tool_name });
			expect(start("Task")).toBe("started hook\n");
			for (const name of [
				undefined,
				"",
				"Tas",
				"(",
				"!",
				"-n",
				"=",
				"a b",
				"]",
			])
				expect([name, start(name)]).toEqual([name, ""]);
		}
	},
);

test.each(kinds)(
	"the other events of the %s's hooks always start bg",
	(kind) => {
		const { run, commandOf } = install(kind);
		for (const event of [
			"SessionStart",
			"SessionEnd",
			"Stop",
			"SubagentStop",
		]) {
			expect(commandOf(event)).not.toContain(".due/");
			expect(run(["sh"], event, {})).toBe("started hook\n");
		}
	},
);

test("a program that is missing never ends a guarded hook with exit code 2, which blocks the tool", () => {
	const { home, commandOf } = install("user");
	Bun.spawnSync(["rm", "-r", join(home, placeOf.user, ".factory", "hooks")]);
	for (const shell of shells) {
		const { exitCode } = Bun.spawnSync(
			[...shell, "-c", commandOf("PostToolUse")],
			{
				env: { PATH: process.env.PATH },
				stdio: ["ignore", "ignore", "ignore"],
			},
		);
		expect([shell, exitCode]).toEqual([shell, 127]);
	}
});
