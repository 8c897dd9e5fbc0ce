/**
 * Adds bg's hooks to a file of droid's and removes them, by edits of its text: every other byte
 * stays. Pure.
 *
 * Measured on droid 0.215.0: in `hooks.json` events are top-level keys, in `settings.json` they are
 * under `hooks`.
 */
import { getNodeValue } from "jsonc-parser/lib/esm/main.js";
import { guardSource } from "../hook/guard.ts";
import {
	addMember,
	brokenFileError,
	type EditedText,
	findValue,
	listMembers,
	type Node,
	nodeEnd,
	parseObject,
	readKey,
	removeMember,
	replaceText,
} from "./json-edit.ts";

/** A file with hooks. Its events are top-level keys, or under one key. */
export type HookFile = { path: string; under?: "hooks" };

/** How long droid waits for bg's hook, in seconds. The hook takes at most one. */
const hookTimeoutSeconds = 5;

/**
 * How a hook calls bg: shell code that finds it, if needed, and the call; for some events, shell code that
 * comes first and exits if bg would do nothing.
 */
export type HookCommand = {
	search?: string;
	call: string;
	guards?: Readonly<Record<string, string>>;
};

/** Matches a command that calls bg, at any path. */
const ownCommandPattern = /(^|[/\s"'])bg(\.mjs)?["']?\s+hook$/;

/* Parts of a command line: a piece of a word, `NAME=value …`, a guard, bg's search of a project, a runtime. */
const wordSource = String.raw`(?:'[^']*'|"[^"]*"|[^\s'"\\;&|<>()]|\\.)`;
const settingsSource = String.raw`((?:\w+=${wordSource}*\s+)*)`;
const settingPattern = new RegExp(String.raw`(\w+)=${wordSource}*\s+`, "g");
const exportSource = String.raw`(?:; export(?: \w+)+; )?`;
const searchSource = String.raw`d=\$FACTORY_PROJECT_DIR; .*\|\| `;
const runtimeSource = String.raw`(?:[\w./-]*\benv\s+)?(?:[\w./-]*\b(?:bun|deno|node)\s+(?:(?:-[\w./,:=-]+|run)\s+)*)?`;

/**
 * Matches a command that is only a call of bg, so it can be replaced. Variables set for it
 * (`BG_STOP=wait bg hook`) are kept. A command that does anything else belongs to the user.
 */
const plainCommandPattern = new RegExp(
	`^${settingsSource}(?:${exportSource}${guardSource}(?:${searchSource})?${settingsSource}exec |${searchSource}${settingsSource})?${runtimeSource}${wordSource}+\\s+hook$`,
);

/**
 * Makes bg a hook of events. If it is one already, only its command is updated, unless the command
 * is the user's own.
 * @throws BgError (refused) if the text is broken.
 */
export function addHooks(
	text: string,
	file: HookFile,
	{ events, command }: { events: readonly string[]; command: HookCommand },
): EditedText {
	const edited: EditedText = { text, edits: [] };
	for (const event of events) {
		const [first, ...others] = findOwnHooks(edited.text, { file, event });
		for (const other of others.reverse())
			if (other.kept !== undefined) removeHook(edited, other);
		if (!first) addHook(edited, { file, event }, buildCall(command, event));
		else if (first.kept !== undefined)
			setCommand(edited, first, buildCall(command, event, first.kept));
	}
	return edited;
}

/**
 * Removes bg from every event, and the groups and events that then are empty.
 * @throws BgError (refused) if the text is broken.
 */
export function removeHooks(text: string, file: HookFile): EditedText {
	const edited: EditedText = { text, edits: [] };
	for (const event of listEvents(text, file).reverse())
		for (const own of findOwnHooks(text, { file, event }).reverse())
			removeHook(edited, own);
	return edited;
}

/** Lists the events that a file has an entry for. @throws BgError (refused) if it is broken. */
export function listEvents(text: string, file: HookFile): string[] {
	const names = listMembers(findTable(text, file)).map(readKey);
	return [...new Set(names)];
}

// --- internal ---

/** The entry of an event in a file. */
type EventEntry = { file: HookFile; event: string };

/** A hook of bg: the index of its group in the entry of an event, and its index in the group. */
type OwnHook = EventEntry & {
	group: number;
	hook: number;
	/** The variables set for its call; undefined if the command is the user's own. */
	kept?: string;
};

function findOwnHooks(text: string, entry: EventEntry): OwnHook[] {
	const groups = listMembers(findGroups(text, entry));
	return groups.flatMap((each, group) =>
		listMembers(findValue(each, "hooks")).flatMap((node, hook) => {
			const command: unknown = findValue(node, "command")?.value;
			if (typeof command !== "string" || !ownCommandPattern.test(command))
				return [];
			const [plain, ...settings] = plainCommandPattern.exec(command) ?? [];
			const own = { ...entry, group, hook };
			return [plain ? { ...own, kept: settings.join("") } : own];
		}),
	);
}

function addHook(edited: EditedText, entry: EventEntry, command: string): void {
	const hook = { type: "command", command, timeout: hookTimeoutSeconds };
	const group = { hooks: [hook] };
	const list = findGroups(edited.text, entry);
	const table = findTable(edited.text, entry.file);
	if (list) addMember(edited, list, { value: group });
	else if (table)
		addMember(edited, table, { key: entry.event, value: [group] });
}

function setCommand(edited: EditedText, own: OwnHook, command: string): void {
	const group = listMembers(findGroups(edited.text, own))[own.group];
	const hook = listMembers(findValue(group, "hooks"))[own.hook];
	const node = findValue(hook, "command");
	if (!node || node.value === command) return;
	const [from, to] = [node.offset, nodeEnd(node)];
	replaceText(edited, { from, to, added: JSON.stringify(command) });
}

/**
 * The kept variables are set for bg: before a search they would not reach it. Before a guard they are set
 * for both, because BG_DIR may be among them.
 */
function buildCall(
	{ search = "", call, guards }: HookCommand,
	event: string,
	kept = "",
): string {
	const guard = guards?.[event];
	if (!guard) return `${search}${kept}${call}`;
	const names = [...kept.matchAll(settingPattern)].map(([, name]) => name);
	const exports = names.length ? `${kept}; export ${names.join(" ")}; ` : "";
	return `${exports}${guard}${search}exec ${call}`;
}

function removeHook(edited: EditedText, own: OwnHook): void {
	const { text } = edited;
	const [table, list] = [findTable(text, own.file), findGroups(text, own)];
	const groups = listMembers(list);
	const hooks = findValue(groups[own.group], "hooks");
	if (!table || !list || !hooks) return;
	if (listMembers(hooks).length > 1) removeMember(edited, hooks, own.hook);
	else if (groups.length > 1 || isOlderList(text, list))
		removeMember(edited, list, own.group);
	else
		removeMember(
			edited,
			table,
			listMembers(table).findLastIndex((each) => readKey(each) === own.event),
		);
}

/** Whether the list is older than bg's group: addMember writes the first member of a list tightly. */
function isOlderList(text: string, list: Node): boolean {
	const tight = JSON.stringify(getNodeValue(list)[0]);
	return text.startsWith(`[${tight}`, list.offset);
}

function findTable(text: string, { path, under }: HookFile): Node | undefined {
	const root = parseObject(text, path);
	return under ? findValue(root, under) : root;
}

/** The groups of an event; undefined if the file has no entry for it. */
function findGroups(text: string, { file, event }: EventEntry) {
	const list = findValue(findTable(text, file), event);
	if (list && list.type !== "array")
		throw brokenFileError(file.path, `${event} is not a list`);
	return list;
}
