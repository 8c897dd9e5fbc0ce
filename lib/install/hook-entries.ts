/**
 * Bg among the hooks in a file of droid's: put there and taken away by edits of its text, so that
 * every other byte stays. Pure.
 *
 * Measured on droid 0.215.0: in `hooks.json` events are top-level keys, in `settings.json` they
 * stand under `hooks`.
 */
import { getNodeValue } from "jsonc-parser/lib/esm/main.js";
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

/** Where events stand: on top of a file, or under a key. */
export type HookFile = { path: string; under?: "hooks" };

/** How long droid waits for a hook of ours, in seconds; it is done within one. */
const hookTimeoutSeconds = 5;

/** How a hook calls bg: what finds it first, if anything must, and the call. */
export type HookCommand = { search?: string; call: string };

/** A hook's command that calls bg, wherever it lies. */
const ownCommandPattern = /(^|[/\s"'])bg(\.mjs)?["']?\s+hook$/;

/* Of a command line: a part of a word, `NAME=value …`, our search of a project, a runtime. */
const wordSource = String.raw`(?:'[^']*'|"[^"]*"|[^\s'"\\;&|<>()]|\\.)`;
const settingsSource = String.raw`((?:\w+=${wordSource}*\s+)*)`;
const searchSource = String.raw`d=\$FACTORY_PROJECT_DIR; .*\|\| `;
const runtimeSource = String.raw`(?:[\w./-]*\benv\s+)?(?:[\w./-]*\b(?:bun|deno|node)\s+(?:(?:-[\w./,:=-]+|run)\s+)*)?`;

/**
 * A command that a call of ours may take the place of. What is set for it alone
 * (`BG_STOP=wait bg hook`) is kept; whatever else somebody put around it is theirs.
 */
const plainCommandPattern = new RegExp(
	`^${settingsSource}(?:${searchSource}${settingsSource})?${runtimeSource}${wordSource}+\\s+hook$`,
);

/**
 * Makes bg a hook of events; where it is one already, only its command is set right, unless
 * somebody made more of it.
 * @throws BgError (refused) where the text is broken.
 */
export function addHooks(
	text: string,
	file: HookFile,
	events: readonly string[],
	command: HookCommand,
): EditedText {
	const edited: EditedText = { text, edits: [] };
	for (const event of events) {
		const [first, ...others] = findOwnHooks(edited.text, file, event);
		for (const other of others.reverse())
			if (other.kept !== undefined) removeHook(edited, file, other);
		if (!first) addHook(edited, file, event, command);
		else if (first.kept !== undefined)
			setCommand(edited, file, first, buildCall(command, first.kept));
	}
	return edited;
}

/**
 * Takes bg away from every event, with the groups and events that held nothing else.
 * @throws BgError (refused) where the text is broken.
 */
export function removeHooks(text: string, file: HookFile): EditedText {
	const edited: EditedText = { text, edits: [] };
	for (const event of listEvents(text, file).reverse())
		for (const own of findOwnHooks(text, file, event).reverse())
			removeHook(edited, file, own);
	return edited;
}

/** The events a file says something of. @throws BgError (refused) where it is broken. */
export function listEvents(text: string, file: HookFile): string[] {
	const names = listMembers(findTable(text, file)).map(readKey);
	return [...new Set(names)];
}

// --- internal ---

/** Where a hook of ours stands: its event, its group there, its place in that. */
type OwnHook = {
	event: string;
	group: number;
	hook: number;
	/** What is set for its call alone; undefined where the command is somebody's own. */
	kept?: string;
};

function findOwnHooks(text: string, file: HookFile, event: string): OwnHook[] {
	const groups = listMembers(findGroups(text, file, event));
	return groups.flatMap((each, group) =>
		listMembers(findValue(each, "hooks")).flatMap((entry, hook) => {
			const command: unknown = findValue(entry, "command")?.value;
			if (typeof command !== "string" || !ownCommandPattern.test(command))
				return [];
			const [plain, before = "", kept = ""] =
				plainCommandPattern.exec(command) ?? [];
			const own = { event, group, hook };
			return [plain ? { ...own, kept: before + kept } : own];
		}),
	);
}

function addHook(
	edited: EditedText,
	file: HookFile,
	event: string,
	command: HookCommand,
): void {
	const entry = {
		type: "command",
		command: buildCall(command),
		timeout: hookTimeoutSeconds,
	};
	const group = { hooks: [entry] };
	const list = findGroups(edited.text, file, event);
	const table = findTable(edited.text, file);
	if (list) addMember(edited, list, "", group);
	else if (table)
		addMember(edited, table, `${JSON.stringify(event)}: `, [group]);
}

function setCommand(
	edited: EditedText,
	file: HookFile,
	{ event, group, hook }: OwnHook,
	command: string,
): void {
	const hooks = listMembers(findGroups(edited.text, file, event))[group];
	const entry = listMembers(findValue(hooks, "hooks"))[hook];
	const node = findValue(entry, "command");
	if (node && node.value !== command)
		replaceText(edited, node.offset, nodeEnd(node), JSON.stringify(command));
}

/** Before the search they would be set for the shell alone. */
const buildCall = ({ search = "", call }: HookCommand, kept = "") =>
	`${search}${kept}${call}`;

function removeHook(
	edited: EditedText,
	file: HookFile,
	{ event, group, hook }: OwnHook,
): void {
	const { text } = edited;
	const [table, list] = [findTable(text, file), findGroups(text, file, event)];
	const groups = listMembers(list);
	const hooks = findValue(groups[group], "hooks");
	if (!table || !list || !hooks) return;
	if (listMembers(hooks).length > 1) removeMember(edited, hooks, hook);
	else if (groups.length > 1 || isOlderList(text, list))
		removeMember(edited, list, group);
	else
		removeMember(
			edited,
			table,
			listMembers(table).findLastIndex((each) => readKey(each) === event),
		);
}

/** A list that was empty holds our group tightly; one that we made does not. */
function isOlderList(text: string, list: Node): boolean {
	const tight = JSON.stringify(getNodeValue(list)[0]);
	return text.startsWith(`[${tight}`, list.offset);
}

// --- the tree of a text ---

function findTable(text: string, { path, under }: HookFile): Node | undefined {
	const root = parseObject(text, path);
	return under ? findValue(root, under) : root;
}

/** The groups of an event; undefined where the file says nothing of it. */
function findGroups(
	text: string,
	file: HookFile,
	event: string,
): Node | undefined {
	const list = findValue(findTable(text, file), event);
	if (list && list.type !== "array")
		throw brokenFileError(file.path, `${event} is no list`);
	return list;
}
