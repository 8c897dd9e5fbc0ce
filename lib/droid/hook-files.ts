/**
 * Whether droid would call a hook of bg in a task: only then a message reaches it.
 *
 * Measured on droid 0.215.0: hooks are read from `hooks.json`, `hooks/hooks.json` and `settings.json` in
 * `.factory` of the home and of the project, whose folder may be above the current one, and from installed plugins.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ifExists } from "../error.ts";
import { homeFolder } from "../store/paths.ts";

/** The files with hooks in a `.factory` folder. */
const hookFileNames = [
	"hooks.json",
	"hooks/hooks.json",
	"settings.json",
	"settings.local.json",
];

/** Matches a command that calls bg, in JSON. */
const callPattern = /(?:^|[/\s"'\\])bg(?:\.mjs)?(?:\\?["'])?\s+hook\b/m;

/** Whether a file of droid's names a hook of bg for a droid in `cwd`. A file that cannot be read may do so. */
export function isHookInstalled(
	cwd: string | undefined,
	home = homeFolder(),
): boolean {
	const roots = new Set(home ? [home] : []);
	for (let at = cwd; at && !roots.has(at); at = dirname(at)) roots.add(at);
	const files = [...roots].flatMap((root) =>
		hookFileNames.map((name) => join(root, ".factory", name)),
	);
	return (
		files.some((path) => mayContain(path, callPattern)) ||
		(home !== undefined && isPluginInstalled(home))
	);
}

// --- internal ---

function mayContain(path: string, pattern: RegExp): boolean {
	try {
		const text = ifExists(() => readFileSync(path, "utf8"));
		return text !== undefined && pattern.test(text);
	} catch {
		return true;
	}
}

/** Droid notes each plugin in a file, whose `pluginId` is `bg@` and its marketplace. */
function isPluginInstalled(home: string): boolean {
	const folder = join(home, ".factory", "plugins", "installed_plugins");
	try {
		const names = ifExists(() => readdirSync(folder)) ?? [];
		return names.some((name) =>
			mayContain(join(folder, name), /"pluginId"\s*:\s*"bg@/),
		);
	} catch {
		return true;
	}
}
