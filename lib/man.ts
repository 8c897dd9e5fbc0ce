/**
 * The man page, as roff with the macros of man(7), which every system that has man pages knows: the
 * same words as the help has, and what holds for all verbs. Pure.
 */
import { exitCodes } from "./error.ts";
import { flagRows, positionalRows, synopsisOf } from "./help.ts";
import { groups, type KnownVerb } from "./verb.ts";

const about = "background tasks for coding agents";

/** What each exit code means. */
const meanings = {
	ok: "done",
	failed: "a task failed, or the answer is no",
	usage: "the call was wrong; the message says what to type",
	missing: "no such task, or more than one that begins like that",
	refused: "the system or a limit refused",
	timedOut: "waited as long as was asked",
} as const satisfies Record<keyof typeof exitCodes, string>;

/** What the environment says. */
const variables = {
	BG_DIR:
		"the folder of records and outputs, else ~/.factory/.omd/background-tasks",
	BG_DROID: "the droid to run, else droid on PATH",
	BG_SESSION_ID: "whose tasks are meant where nothing else is said",
	BG_MAX_RUNNING: "how many tasks run at once, 8",
	BG_MAX_PER_DROID: "how many of one droid run at once, all",
	BG_MAX_DEPTH: "how deep tasks may launch tasks, 3",
	BG_MAX_QUEUED: "how many tasks may wait, 1000",
	NO_COLOR: "no colours",
} as const;

/** The whole page. */
export function renderMan(
	verbs: readonly KnownVerb[],
	version: string,
): string {
	const of = (group: string) => verbs.filter((verb) => verb.group === group);
	return [
		`.TH BG 1 "" "bg ${toRoff(version)}"`,
		...heading("NAME"),
		`bg \\- ${about}`,
		...heading("SYNOPSIS"),
		".B bg",
		"\\fIverb\\fR [\\fIflags\\fR] [\\fIarguments\\fR]",
		...heading("DESCRIPTION"),
		text(
			"Launches tasks that outlive their launcher, watches each to its end, and keeps every output. A task is named by its id, by a beginning of it that is its alone, or by @last, the newest. Answers are text in a terminal and JSON in a pipe; --json and --text decide otherwise.",
		),
		".PP",
		text(
			"Shells have a bg of their own, for their jobs: type env bg, or bg-tasks where npm installed it, or load the completions, which keep the two apart (bg help completion).",
		),
		...Object.entries(groups).flatMap(([group, title]) => [
			...heading(title.toUpperCase()),
			...of(group).flatMap(verbSection),
		]),
		...heading("EXIT STATUS"),
		...Object.entries(exitCodes).flatMap(([name, code]) =>
			entry(String(code), meanings[name as keyof typeof meanings]),
		),
		...heading("ENVIRONMENT"),
		...Object.entries(variables).flatMap(([name, says]) => entry(name, says)),
		"",
	].join("\n");
}

// --- internal ---

function verbSection(verb: KnownVerb): string[] {
	const rows = [...positionalRows(verb), ...flagRows(verb)];
	return [
		`.SS ${quoted(synopsisOf(verb))}`,
		`${text(verb.meta.description)}.`,
		...rows.flatMap(([name, says]) => entry(name, says)),
		...verb.examples.flatMap(([line, does]) => [
			".PP",
			`${text(`Example, ${does}:`)}`,
			".PP",
			".nf",
			`    ${text(line)}`,
			".fi",
		]),
	];
}

const heading = (title: string) => [`.SH ${quoted(title)}`];

/** A term in bold, and what it means. */
const entry = (name: string, says: string) => [
	".TP",
	`\\fB${toRoff(name)}\\fR`,
	text(says),
];

/** Words on a line of their own: none of them a request, whatever they begin with. */
const text = (words: string) => toRoff(words).replace(/^(?=['.])/gm, "\\&");

const quoted = (words: string) => `"${toRoff(words).replaceAll('"', '""')}"`;

/** Words as they are: a backslash is shown, and a minus can be copied into a shell. */
const toRoff = (words: string) =>
	words
		.replaceAll("\\", "\\e")
		.replaceAll("-", "\\-")
		.replaceAll("`", "\\(ga")
		.replaceAll("'", "\\(aq")
		.replaceAll("^", "\\(ha")
		.replaceAll("~", "\\(ti")
		.replaceAll("…", "...");
