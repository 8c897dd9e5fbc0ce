import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { ArgsDef } from "citty";
import { usage } from "../../error.ts";
import {
	applyChanges,
	createReader,
	readOwnProgram,
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
import { formatSize } from "../../print/units.ts";
import { toAbsolute } from "../../process/runtime.ts";
import { quoteForShell } from "../../process/self.ts";
import { type FormatArguments, formatFlags, reply } from "../reply.ts";
import { defineVerb } from "../verb.ts";

export const targetFlags = {
	user: {
		type: "boolean",
		description:
			"for yourself, in ~/.factory (what holds where nothing is said)",
	},
	project: {
		type: "boolean",
		description: "for whoever works in this folder, in ./.factory",
	},
	plugin: {
		type: "string",
		valueHint: "dir",
		description: "as a plugin of droid's, with a marketplace, in a folder",
	},
	"dry-run": { type: "boolean", description: "only say what would happen" },
	...formatFlags,
} as const satisfies ArgsDef;

export default defineVerb({
	meta: {
		name: "install",
		description: "Register bg with droid, as hooks, a skill and /task-bg",
	},
	group: "maintain",
	examples: [
		["bg install", "for yourself, in ~/.factory"],
		["bg install --plugin ~/bg-plugin", "as a plugin, and what to type then"],
	],
	args: targetFlags,
	run: ({ args }) => {
		const target = parseTarget(args);
		const plan = planInstall(target, readOwnProgram(), createReader(target));
		const next =
			target.kind === "plugin"
				? pluginCommands(target.folder, isNew(target, plan))
				: plan.slice(0, 1).map(({ path }) => `${quoteForShell(path)} doctor`);
		replyChanges(target, plan, args, { next });
	},
});

export function parseTarget({
	user,
	project,
	plugin,
}: Arguments): InstallTarget {
	if ([user, project, plugin !== undefined].filter(Boolean).length > 1)
		throw usage("--user, --project and --plugin do not go together");
	if (project)
		return { kind: "project", folder: toAbsolute("--project", ".factory") };
	if (plugin === undefined) return { kind: "user", folder: droidFolder() };
	const folder = resolve(toAbsolute("--plugin", plugin));
	if (!plugin || !/^[a-z0-9][\w.-]*$/i.test(basename(folder)))
		throw usage(
			`--plugin ${JSON.stringify(plugin)}: droid names it by its folder, which takes letters, digits and -`,
		);
	return { kind: "plugin", folder };
}

/** Carries a plan out, where it is not only asked for, and says so. */
export function replyChanges(
	target: InstallTarget,
	plan: readonly FileChange[],
	args: Arguments,
	more: { next?: string[] },
): void {
	const dryRun = args["dry-run"] ?? false;
	if (!dryRun) applyChanges(target, plan);
	const json = {
		...target,
		files: plan.map(
			dryRun ? toFullChange : ({ path, action }) => ({ path, action }),
		),
		...more,
		...(dryRun && { dryRun }),
	};
	reply(args, json, () => {
		const lines = plan.flatMap((change) => describeChange(change, dryRun));
		const { next } = more;
		if (lines.length === 0) lines.push("nothing of bg's is there");
		return [
			...lines,
			...(next
				? ["then type:", ...next.map((line) => indentLine(toLine(line, 1000)))]
				: []),
		].join("\n");
	});
}

// --- internal ---

type Arguments = FormatArguments & {
	user?: boolean;
	project?: boolean;
	plugin?: string;
	"dry-run"?: boolean;
};

/** A file as it would be; a program is too long for that. */
function toFullChange({ path, action, next, edits }: FileChange) {
	const bytes = next?.bytes.length;
	const content =
		next && next.mode & 0o111 ? undefined : next?.bytes.toString();
	return { path, action, bytes, edits, content };
}

/** Whether droid cannot know a plugin's folder yet. */
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
	same: ["as it should be", "as it should be"],
	foreign: ["left alone", "would leave alone"],
} as const satisfies Record<FileChange["action"], readonly [string, string]>;

function describeChange(
	{ path, action, next, edits }: FileChange,
	dryRun: boolean,
): string[] {
	const size =
		next && action === "create"
			? ` (${formatSize(next.bytes.length)} bytes)`
			: "";
	const why =
		action === "foreign"
			? ": bg did not write it, or its marker was taken out"
			: "";
	const line = `${actionWords[action][dryRun ? 1 : 0]} ${toLine(path, 1000)}${size}${why}`;
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
