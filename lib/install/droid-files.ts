/**
 * What droid has to find so that it knows bg: which files, where, and what they hold; for a user, a
 * project, or as a plugin. Pure.
 *
 * Measured on droid 0.215.0: a project's hooks are read in folders below it too, and
 * `FACTORY_PROJECT_DIR` is then that folder. In the hooks and skills of a plugin
 * `${DROID_PLUGIN_ROOT}` becomes its path. A marketplace is called what its folder is called.
 */
import { basename, dirname, join, relative } from "node:path";
import { description, version } from "../../package.json" with { type: "json" };
import { refused } from "../error.ts";
import { quoteForShell } from "../process/self.ts";
import { homeFolder } from "../store/paths.ts";
import command from "./assets/command.md" with { type: "text" };
import skill from "./assets/skill.md" with { type: "text" };
import type { HookCommand, HookFile } from "./hook-entries.ts";

/** Where it is put: `.factory` of a home or a project, or the folder of a marketplace. */
export type InstallTarget = {
	kind: "user" | "project" | "plugin";
	folder: string;
};

/** Where droid keeps what is the user's. @throws BgError (refused) without a home. */
export function droidFolder(): string {
	const home = homeFolder();
	if (!home) throw refused("no home that droid has its files in: set HOME");
	return join(home, ".factory");
}

/** What the program is called, as an executable and as a script. */
export const programNames = ["bg", "bg.mjs"] as const;

/** All that bg writes says so; what does not is not bg's to change. */
export const marker = "written by bg install";

export type DroidFiles = {
	root: string;
	/** The command of a hook that stands in a file. */
	hook: (file: string) => HookCommand;
	/** Paths and what they hold. */
	assets: [path: string, text: string][];
};

/** Where the files of a target are, and what they hold. */
export function listDroidFiles(
	target: InstallTarget,
	name: string,
): DroidFiles {
	const { kind, folder } = target;
	const root = kind === "plugin" ? join(folder, pluginName) : folder;
	const { hook, bg, where = "" } = buildCalls({ kind, folder: root }, name);
	const report = `${bg} report`;
	const values = { bg, where, report };
	const assets: DroidFiles["assets"] = [
		[join(root, "skills", "task-bg", "SKILL.md"), fillTemplate(skill, values)],
		[join(root, "commands", "task-bg.md"), fillTemplate(command, values)],
	];
	if (kind !== "plugin") return { root, hook, assets };
	const about = {
		name: pluginName,
		version,
		description: `${description} (${marker})`,
	};
	const market = { name: basename(folder), owner: { name: pluginName } };
	const plugins = [{ ...about, source: `./${pluginName}` }];
	assets.push(
		[join(root, ".factory-plugin", "plugin.json"), toText(about)],
		[marketplaceFile(folder), toText({ ...market, plugins })],
	);
	return { root, hook, assets };
}

/** Every file that droid may read hooks from, the one that wins first. */
export function listHookFiles({ kind, folder }: InstallTarget): HookFile[] {
	if (kind === "plugin")
		return [{ path: join(folder, pluginName, "hooks", "hooks.json") }];
	return [
		{ path: join(folder, "hooks.json") },
		{ path: join(folder, "hooks", "hooks.json") },
		{ path: join(folder, "settings.json"), under: "hooks" },
	];
}

/** The file that makes a folder a marketplace. */
export const marketplaceFile = (folder: string) =>
	join(folder, ".factory-plugin", "marketplace.json");

/** The folders that are taken away with what was in them, if nothing else is. */
export function listFolders(target: InstallTarget): string[] {
	const { root, assets } = listDroidFiles(target, "bg");
	const folders = [
		...assets.map(([path]) => dirname(path)),
		join(root, "hooks"),
	];
	const above = folders.map((folder) => dirname(folder));
	return [...new Set([...folders, ...above])].filter((folder) =>
		folder.startsWith(`${target.folder}/`),
	);
}

/** What a person types so that droid knows a plugin's folder, or that there is something new in it. */
export function pluginCommands(folder: string, isNew: boolean): string[] {
	const at = quoteForShell(folder);
	const plugin = quoteForShell(`${pluginName}@${basename(folder)}`);
	return [
		...(isNew ? [`git -C ${at} init`] : []),
		`git -C ${at} add -A`,
		`git -C ${at} commit -m ${quoteForShell(`bg ${version}`)}`,
		...(isNew
			? [
					`droid plugin marketplace add ${at}`,
					`droid plugin install ${plugin} --scope user`,
				]
			: [`droid plugin update ${plugin}`]),
	];
}

// --- internal ---

const pluginName = "bg";

type Calls = {
	/** How a hook calls bg, and how an agent does. */
	hook: DroidFiles["hook"];
	bg: string;
	/** What an agent has to know of that. */
	where?: string;
};

function buildCalls({ kind, folder }: InstallTarget, name: string): Calls {
	if (kind === "project") {
		const bg = `.factory/hooks/${name}`;
		const where = " (From the project's own folder, the one `.factory` is in.)";
		const hook = (file: string) => ({
			search: buildSearch(join(".factory", relative(folder, file)), bg),
			call: `"$d/${bg}" hook`,
		});
		return { hook, bg, where };
	}
	const bg =
		kind === "plugin"
			? `"\${DROID_PLUGIN_ROOT}/hooks/${name}"`
			: quoteForShell(join(folder, "hooks", name));
	return { hook: () => ({ call: `${bg} hook` }), bg };
}

/**
 * The folder droid was started in may be one below the project's, and have hooks of its own. The
 * search ends at the file this stands in, whether the program is beside it or not: above it, as in
 * `/tmp`, anybody may have put one. (install/hook-entries.ts knows a search by its first words.)
 */
function buildSearch(file: string, program: string): string {
	const isOver = `[ "$d" = "\${d#/}" ]`;
	const isThere = `[ -x "$d/${program}" ]`;
	const isNamed = `grep -qF '/${program}' "$d/${file}"`;
	const isFound = `[ -f "$d/${file}" ] && { ${isThere} || ${isNamed}; }`;
	return (
		`d=$FACTORY_PROJECT_DIR; until ${isOver} || { ${isFound}; }; do d=\${d%/*}; done; ` +
		`${isOver} || ! ${isThere} || `
	);
}

const toText = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

const fillTemplate = (text: string, values: Record<string, string>) =>
	text.replace(/\{\{(\w+)\}\}/g, (_, name) => values[name] ?? "");
