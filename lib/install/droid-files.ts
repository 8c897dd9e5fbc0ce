/**
 * The files of an installation, their paths and their content: for a user, a project, or as a plugin.
 * Pure.
 *
 * Measured on droid 0.215.0: a project's hooks also run in folders below it, and
 * `FACTORY_PROJECT_DIR` is then that folder. In the hooks and skills of a plugin, droid replaces
 * `${DROID_PLUGIN_ROOT}` by the plugin's path. A marketplace has the name of its folder.
 */
import { basename, dirname, join, relative } from "node:path";
import { description, version } from "../../package.json" with { type: "json" };
import { refused } from "../error.ts";
import { hookGuards as guards } from "../hook/guard.ts";
import { quoteForShell } from "../process/self.ts";
import { homeFolder } from "../store/paths.ts";
import command from "./assets/command.md" with { type: "text" };
import skill from "./assets/skill.md" with { type: "text" };
import type { HookCommand, HookFile } from "./hook-entries.ts";

/** The folder is `.factory` of a home or a project, or that of a marketplace. */
export type InstallTarget = {
	kind: "user" | "project" | "plugin";
	folder: string;
};

/** The folder of droid's files in the home. @throws BgError (refused) without a home. */
export function droidFolder(): string {
	const home = homeFolder();
	if (!home) throw refused("no home folder for droid's files: set HOME");
	return join(home, ".factory");
}

/** The names of the installed program: executable and script. */
export const programNames = ["bg", "bg.mjs"] as const;
export type ProgramName = (typeof programNames)[number];

/** Every file that bg writes contains this. A file without it is never changed. */
export const marker = "written by bg install";

/**
 * Lists the files of a target. `name` is that of the program.
 * @returns `programs`: the path of the program, under each of its names. `hook`: makes the hook command
 * for a file. `assets`: the other files.
 */
export function listDroidFiles(target: InstallTarget, name: string) {
	const { kind, folder } = target;
	const root = kind === "plugin" ? join(folder, pluginName) : folder;
	const { hook, bg, where } = buildCalls({ kind, folder: root }, name);
	const values = { bg, where, report: `${bg} report` };
	const hooks = join(root, "hooks");
	const programs = { bg: join(hooks, "bg"), "bg.mjs": join(hooks, "bg.mjs") };
	const assets: [path: string, text: string][] = [
		[join(root, "skills", "task-bg", "SKILL.md"), fillTemplate(skill, values)],
		[join(root, "commands", "task-bg.md"), fillTemplate(command, values)],
	];
	if (kind === "plugin") {
		const marked = `${description} (${marker})`;
		const about = { name: pluginName, version, description: marked };
		const market = { name: basename(folder), owner: { name: pluginName } };
		const plugins = [{ ...about, source: `./${pluginName}` }];
		assets.push(
			[join(root, ".factory-plugin", "plugin.json"), toText(about)],
			[marketplaceFile(folder), toText({ ...market, plugins })],
		);
	}
	return { programs, hook, assets };
}

/** Lists the files that droid reads hooks from, in the order of precedence. */
export function listHookFiles({
	kind,
	folder,
}: InstallTarget): [HookFile, ...HookFile[]] {
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

/** Lists the folders that uninstall removes if they are empty, deepest first: that of the target is the last. */
export function listFolders(target: InstallTarget): string[] {
	const { programs, assets } = listDroidFiles(target, "bg");
	const paths = [...assets.map(([path]) => path), programs.bg];
	const folders = paths.map((path) => dirname(path));
	const above = folders.map((folder) => dirname(folder));
	const below = [...folders, ...above].filter((folder) =>
		folder.startsWith(`${target.folder}/`),
	);
	return [...new Set([...below, target.folder])];
}

/** Lists the commands that make droid install a plugin, or update it. */
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

/** How a hook and an agent call bg, and from which folder the agent does. */
function buildCalls({ kind, folder }: InstallTarget, name: string) {
	if (kind === "project") {
		const bg = `.factory/hooks/${name}`;
		const where =
			" Run it in the project's folder, the one that contains `.factory`.";
		const hook = (file: string): HookCommand => ({
			search: buildSearch(join(".factory", relative(folder, file)), bg),
			call: `"$d/${bg}" hook`,
			guards,
		});
		return { hook, bg, where };
	}
	const bg =
		kind === "plugin"
			? `"\${DROID_PLUGIN_ROOT}/hooks/${name}"`
			: quoteForShell(join(folder, "hooks", name));
	const hook = (): HookCommand => ({ call: `${bg} hook`, guards });
	return { hook, bg, where: "" };
}

/**
 * Shell code that finds the project's folder: droid may have been started in a folder below, which may
 * have hooks of its own. The search stops at the file that contains this hook, even if the program is
 * missing: in a folder above, such as `/tmp`, another user may have put one. (install/hook-entries.ts
 * recognises a search by its first words.)
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
