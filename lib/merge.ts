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
	broken,
	dropMember,
	type Edited,
	endOf,
	keyOf,
	membersOf,
	type Node,
	parseObject,
	splice,
	valueIn,
} from "./jsonc.ts";

/** Where events stand: on top of a file, or under a key. */
export type Place = { path: string; under?: "hooks" };

/** How long droid waits for a hook of ours, in seconds; it is done within one. */
const timeout = 5;

/** How a hook calls bg: what finds it first, if anything must, and the call. */
export type Command = { search?: string; call: string };

/** A hook's command that calls bg, wherever it lies. */
const ownCommand = /(^|[/\s"'])bg(\.mjs)?["']?\s+hook$/;

/* Of a command line: a part of a word, `NAME=value …`, our search of a project, a runtime. */
const word = String.raw`(?:'[^']*'|"[^"]*"|[^\s'"\\;&|<>()]|\\.)`;
const settings = String.raw`((?:\w+=${word}*\s+)*)`;
const search = String.raw`d=\$FACTORY_PROJECT_DIR; .*\|\| `;
const runtime = String.raw`(?:[\w./-]*\benv\s+)?(?:[\w./-]*\b(?:bun|deno|node)\s+(?:(?:-[\w./,:=-]+|run)\s+)*)?`;

/**
 * A command that a call of ours may take the place of. What is set for it alone
 * (`BG_STOP=wait bg hook`) is kept; whatever else somebody put around it is theirs.
 */
const plainCommand = new RegExp(
	`^${settings}(?:${search}${settings})?${runtime}${word}+\\s+hook$`,
);

/**
 * Makes bg a hook of events; where it is one already, only its command is set right, unless
 * somebody made more of it.
 * @throws BgError (refused) where the text is broken.
 */
export function mergeHooks(
	text: string,
	place: Place,
	events: readonly string[],
	command: Command,
): Edited {
	const edited: Edited = { text, edits: [] };
	for (const event of events) {
		const [first, ...others] = ownHooks(edited.text, place, event);
		for (const other of others.reverse())
			if (other.kept !== undefined) dropHook(edited, place, other);
		if (!first) addHook(edited, place, event, command);
		else if (first.kept !== undefined)
			setCommand(edited, place, first, callWith(command, first.kept));
	}
	return edited;
}

/**
 * Takes bg away from every event, with the groups and events that held nothing else.
 * @throws BgError (refused) where the text is broken.
 */
export function unmergeHooks(text: string, place: Place): Edited {
	const edited: Edited = { text, edits: [] };
	for (const event of eventsIn(text, place).reverse())
		for (const own of ownHooks(text, place, event).reverse())
			dropHook(edited, place, own);
	return edited;
}

/** The events a file says something of. @throws BgError (refused) where it is broken. */
export function eventsIn(text: string, place: Place): string[] {
	const names = membersOf(tableOf(text, place)).map(keyOf);
	return [...new Set(names)];
}

// --- internal ---

/** Where a hook of ours stands: its event, its group there, its place in that. */
type Own = {
	event: string;
	group: number;
	hook: number;
	/** What is set for its call alone; undefined where the command is somebody's own. */
	kept?: string;
};

function ownHooks(text: string, place: Place, event: string): Own[] {
	const groups = membersOf(listOf(text, place, event));
	return groups.flatMap((each, group) =>
		membersOf(valueIn(each, "hooks")).flatMap((entry, hook) => {
			const command: unknown = valueIn(entry, "command")?.value;
			if (typeof command !== "string" || !ownCommand.test(command)) return [];
			const [plain, before = "", kept = ""] = plainCommand.exec(command) ?? [];
			const own = { event, group, hook };
			return [plain ? { ...own, kept: before + kept } : own];
		}),
	);
}

function addHook(
	edited: Edited,
	place: Place,
	event: string,
	command: Command,
): void {
	const entry = { type: "command", command: callWith(command), timeout };
	const group = { hooks: [entry] };
	const list = listOf(edited.text, place, event);
	const table = tableOf(edited.text, place);
	if (list) addMember(edited, list, "", group);
	else if (table)
		addMember(edited, table, `${JSON.stringify(event)}: `, [group]);
}

function setCommand(
	edited: Edited,
	place: Place,
	{ event, group, hook }: Own,
	command: string,
): void {
	const hooks = membersOf(listOf(edited.text, place, event))[group];
	const entry = membersOf(valueIn(hooks, "hooks"))[hook];
	const node = valueIn(entry, "command");
	if (node && node.value !== command)
		splice(edited, node.offset, endOf(node), JSON.stringify(command));
}

/** Before the search they would be set for the shell alone. */
const callWith = ({ search = "", call }: Command, kept = "") =>
	`${search}${kept}${call}`;

function dropHook(
	edited: Edited,
	place: Place,
	{ event, group, hook }: Own,
): void {
	const { text } = edited;
	const [table, list] = [tableOf(text, place), listOf(text, place, event)];
	const groups = membersOf(list);
	const hooks = valueIn(groups[group], "hooks");
	if (!table || !list || !hooks) return;
	if (membersOf(hooks).length > 1) dropMember(edited, hooks, hook);
	else if (groups.length > 1 || isOlderThanOurs(text, list))
		dropMember(edited, list, group);
	else
		dropMember(
			edited,
			table,
			membersOf(table).findLastIndex((each) => keyOf(each) === event),
		);
}

/** A list that was empty holds our group tightly; one that we made does not. */
function isOlderThanOurs(text: string, list: Node): boolean {
	const tight = JSON.stringify(getNodeValue(list)[0]);
	return text.startsWith(`[${tight}`, list.offset);
}

// --- the tree of a text ---

function tableOf(text: string, { path, under }: Place): Node | undefined {
	const root = parseObject(text, path);
	return under ? valueIn(root, under) : root;
}

/** The groups of an event; undefined where the file says nothing of it. */
function listOf(text: string, place: Place, event: string): Node | undefined {
	const list = valueIn(tableOf(text, place), event);
	if (list && list.type !== "array")
		throw broken(place.path, `${event} is no list`);
	return list;
}
