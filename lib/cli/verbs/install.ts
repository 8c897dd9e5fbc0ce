import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { ParsedArgs } from "citty";
import { usage } from "../../error.ts";
import type { HookEventName } from "../../hook/events.ts";
import {
	applyChanges,
	chooseProgram,
	createReader,
} from "../../install/apply.ts";
import {
	droidFolder,
	type InstallTarget,
	marketplaceFile,
	pluginCommands,
} from "../../install/droid-files.ts";
import { type FileChange, planInstall } from "../../install/install.ts";
import type { TextEdit } from "../../install/json-edit.ts";
import { toLine, toPlain } from "../../print/text.ts";
import { formatRoughSize } from "../../print/units.ts";
import { toAbsolute } from "../../process/runtime.ts";
import { quoteForShell } from "../../process/self.ts";
import type { Args } from "../arguments.ts";
import {
	confirm,
	formatFlags,
	replyToPerson,
	warn,
	yesFlag,
} from "../reply.ts";
import { defineVerb, flag, option } from "../verb.ts";

export const targetFlags = {
	user: flag("for yourself, in ~/.factory (the default)"),
	project: flag("for everybody who works in this folder, in ./.factory"),
	plugin: option(
		"dir",
		"as a droid plugin with its marketplace, in this folder",
	),
	"dry-run": flag("change nothing, show what would happen"),
	...formatFlags,
} as const satisfies Args;

export default defineVerb({
	name: "install",
	description: "Add bg's hooks to droid, with a skill and /task-bg",
	group: "maintain",
	examples: {
		"bg install": "for yourself, in ~/.factory",
		"bg install --plugin ~/bg-plugin":
			"as a plugin; prints the commands to enable it",
	},
	args: { ...targetFlags, ...yesFlag },
	run: async ({ args }) => {
		const target = parseTarget(args);
		const program = chooseProgram(target);
		const plan = planInstall(target, program, createReader(target));
		const warning = describeBinary(target, plan[0]);
		if (warning && !args["dry-run"]) {
			if (!args.yes) warn(warning);
			if (!(await confirm(args, () => "put it there?"))) return false;
		}
		const next =
			target.kind === "plugin"
				? pluginCommands(target.folder, isNew(target, plan))
				: plan.slice(0, 1).map(({ path }) => `${quoteForShell(path)} doctor`);
		await replyChanges(args, { target, plan, next, hooks: true });
		return true;
	},
});

export function parseTarget(args: Arguments): InstallTarget {
	const { user, project, plugin } = args;
	if ([user, project, plugin !== undefined].filter(Boolean).length > 1)
		throw usage("--user, --project and --plugin cannot be combined");
	if (project)
		return { kind: "project", folder: toAbsolute("--project", ".factory") };
	if (plugin === undefined) return { kind: "user", folder: droidFolder() };
	const folder = resolve(toAbsolute("--plugin", plugin));
	if (!plugin || !/^[a-z0-9][\w.-]*$/i.test(basename(folder)))
		throw usage(
			`--plugin ${JSON.stringify(plugin)}: droid names the plugin after its folder: use letters, digits and -`,
		);
	return { kind: "plugin", folder };
}

/** Carries out a plan, except in a dry run, and prints it. */
export async function replyChanges(
	args: Arguments,
	{ target, plan, next, hooks }: InstallReply,
): Promise<void> {
	const dryRun = args["dry-run"] ?? false;
	if (!dryRun) applyChanges(target, plan);
	const json = {
		...target,
		files: plan.map(
			dryRun ? toFullChange : ({ path, action }) => ({ path, action }),
		),
		next,
		...(dryRun && { dryRun }),
	};
	await replyToPerson(args, json, ({ log }) => {
		const lines = plan.flatMap((change) => describeChange(change, dryRun));
		for (const line of lines) log(line);
		if (lines.length === 0) log("bg is not installed there");
		if (hooks)
			log(`droid ${dryRun ? "would call" : "now calls"} bg at these events:`);
		for (const [event, does] of Object.entries(hooks ? hookEffects : {}))
			log(indentLine(`${event.padEnd(17)}${does}`));
		if (next) log(dryRun ? "then you would type:" : "then type:");
		for (const line of next ?? []) log(indentLine(toLine(line, 1000)));
	});
}

// --- internal ---

type Arguments = ParsedArgs<typeof targetFlags>;

type InstallReply = {
	target: InstallTarget;
	plan: readonly FileChange[];
	/** The commands to type next. */
	next?: string[];
	/** Whether to tell what each hook does. */
	hooks?: boolean;
};

/** What bg does at each event. */
const hookEffects = {
	SessionStart: "tells the session its id and which of its tasks have ended",
	UserPromptSubmit: "tells the session which of its tasks have ended",
	PostToolUse:
		"as UserPromptSubmit; lists droid's background subagents as tasks",
	SubagentStop: "records the end of a subagent",
	Stop: "with BG_STOP=wait, keeps droid from stopping, once, while it has tasks",
	SessionEnd:
		"records the end of its subagents; passes undelivered notices to its caller",
} as const satisfies Record<HookEventName, string>;

/** What to know before a program for one platform gets into a repository. */
function describeBinary(
	{ kind, folder }: InstallTarget,
	program: FileChange | undefined,
): string | undefined {
	if (kind !== "project" || !program?.next) return undefined;
	if (basename(program.path) !== "bg") return undefined;
	const size = formatRoughSize(program.next.bytes.length);
	return `${toLine(folder, 500)} gets an executable of ${size} for ${process.platform} ${process.arch} only (bg.mjs install --project puts the script there, which is small and runs everywhere)`;
}

/** A change with the content of the file, unless it is a program. */
function toFullChange({ path, action, next, edits }: FileChange) {
	const bytes = next?.bytes.length;
	const content =
		next && next.mode & 0o111 ? undefined : next?.bytes.toString();
	return { path, action, bytes, edits, content };
}

/** Whether the plugin's folder was just created, so that droid has not read it. */
const isNew = ({ folder }: InstallTarget, plan: readonly FileChange[]) =>
	!existsSync(join(folder, ".git")) ||
	plan.some(
		({ path, action }) =>
			path === marketplaceFile(folder) && action === "create",
	);

const actionWords = {
	create: ["created", "would create"],
	change: ["changed", "would change"],
	remove: ["removed", "would remove"],
	same: ["unchanged", "unchanged"],
	foreign: ["kept", "would keep"],
} as const satisfies Record<FileChange["action"], readonly [string, string]>;

function describeChange(
	{ path, action, next, edits }: FileChange,
	dryRun: boolean,
): string[] {
	const more =
		next && action === "create"
			? ` (${formatRoughSize(next.bytes.length)})`
			: action === "foreign"
				? ": not written by bg, or its marker was removed"
				: "";
	const line = `${actionWords[action][dryRun ? 1 : 0]} ${toLine(path, 1000)}${more}`;
	return [line, ...(dryRun ? (edits ?? []).flatMap(describeEdit) : [])];
}

function describeEdit({ removed, added }: TextEdit): string[] {
	const lines = (mark: string, text: string) =>
		text
			.split("\n")
			.filter((line) => /[^\s,]/.test(line))
			.map((line) => indentLine(`${mark} ${toPlain(line)}`));
	return [...lines("-", removed), ...lines("+", added)];
}

const indentLine = (line: string) => `    ${line}`;
