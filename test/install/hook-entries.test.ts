import { expect, test } from "bun:test";
import fc from "fast-check";
import { hookEvents } from "../../lib/hook/events.ts";
import {
	addHooks,
	type HookCommand,
	listEvents,
	removeHooks,
} from "../../lib/install/hook-entries.ts";

const names = Object.keys(hookEvents);
const call = "/home/dev/.factory/hooks/bg hook";
const command = { call };
const top = { path: "hooks.json" };
const inSettings = { path: "settings.json", under: "hooks" } as const;

const merge = (text: string, place: typeof top | typeof inSettings = top) =>
	addHooks(text, place, { events: names, command }).text;
const unmerge = (text: string, place: typeof top | typeof inSettings = top) =>
	removeHooks(text, place).text;

/** Parses a file with comments, as droid does. */
const read = (text: string) => Bun.JSONC.parse(text) as Record<string, unknown>;

const ours = { hooks: [{ type: "command", command: call, timeout: 5 }] };

const theirs = fc.record({
	matcher: fc.constantFrom("Edit", "", "*"),
	hooks: fc.array(
		fc.record({
			type: fc.constant("command"),
			command: fc.constantFrom("guard.sh", "say 'a, b' // c", 'x "bg" hooks'),
		}),
		{ maxLength: 2 },
	),
});

const table = fc.dictionary(
	fc.constantFrom(...names, "PreToolUse", "a // b", "/* , */"),
	fc.array(theirs, { maxLength: 3 }),
);

/** JSON with any indentation, line ends, spaces and comments. */
const written = fc
	.record({
		value: table,
		indent: fc.constantFrom("", " ", "  ", "\t"),
		end: fc.constantFrom("\n", "\r\n"),
		gaps: fc.infiniteStream(
			fc.constantFrom(
				"",
				"",
				"",
				" ",
				"\t",
				"\n",
				"\r\n ",
				" /* , */ ",
				" // ]}\n",
			),
		),
		around: fc.constantFrom("", "\n", " ", "// head\n"),
	})
	.map(({ value, indent, end, gaps, around }) => {
		const text = JSON.stringify(value, null, indent).replaceAll("\n", end);
		// Between tokens, and never in a string.
		const spaced = text.replace(/"(?:[^"\\]|\\.)*"|[[\]{},:]/g, (token) => {
			return token + gaps.next().value;
		});
		return around + spaced + around;
	});

test("removing the hooks restores the file to the byte", () => {
	fc.assert(
		fc.property(written, (text) => {
			expect(unmerge(merge(text))).toBe(text);
		}),
		{ numRuns: 500 },
	);
});

test("every event has bg once, and keeps everything else", () => {
	fc.assert(
		fc.property(written, (text) => {
			const before = read(text);
			const after = read(merge(text));
			for (const name of names)
				expect(after[name]).toEqual([...((before[name] as []) ?? []), ours]);
			for (const name of Object.keys(before))
				if (!names.includes(name)) expect(after[name]).toEqual(before[name]);
		}),
	);
});

test("adding the hooks twice changes nothing", () => {
	fc.assert(
		fc.property(written, (text) => {
			const once = merge(text);
			expect(addHooks(once, top, { events: names, command })).toEqual({
				text: once,
				edits: [],
			});
		}),
	);
});

test("adding the hooks removes no text", () => {
	fc.assert(
		fc.property(written, (text) => {
			const merged = addHooks(text, top, { events: names, command });
			for (const { removed } of merged.edits) expect(removed).toBe("");
		}),
	);
});

test("added hooks are formatted like their neighbours", () => {
	const text = `{
    // guards what is written
    "PostToolUse": [
        { "matcher": "Edit", "hooks": [{ "type": "command", "command": "guard.sh" }] } // keep
    ],
    "Stop": []
}
`;
	const merged = addHooks(text, top, {
		events: ["PostToolUse", "Stop", "SessionEnd"],
		command: { call: "bg hook" },
	});
	expect(merged.text).toBe(`{
    // guards what is written
    "PostToolUse": [
        { "matcher": "Edit", "hooks": [{ "type": "command", "command": "guard.sh" }] }, // keep
        {
            "hooks": [
                {
                    "type": "command",
                    "command": "bg hook",
                    "timeout": 5
                }
            ]
        }
    ],
    "Stop": [{"hooks":[{"type":"command","command":"bg hook","timeout":5}]}],
    "SessionEnd": [
        {
            "hooks": [
                {
                    "type": "command",
                    "command": "bg hook",
                    "timeout": 5
                }
            ]
        }
    ]
}
`);
	expect(unmerge(merged.text)).toBe(text);
});

test("in settings only the entries under hooks are changed", () => {
	const text = `{"model": "x", "hooks": {"Stop": [{"hooks": []}]}, "Stop": 1}`;
	const merged = addHooks(text, inSettings, {
		events: ["Stop"],
		command: { call: "bg hook" },
	}).text;
	expect(read(merged)).toEqual({
		model: "x",
		hooks: {
			Stop: [
				{ hooks: [] },
				{ hooks: [{ ...ours.hooks[0], command: "bg hook" }] },
			],
		},
		Stop: 1,
	});
	expect(unmerge(merged, inSettings)).toBe(text);
	expect(listEvents(text, inSettings)).toEqual(["Stop"]);
	expect(listEvents(`{"model": "x"}`, inSettings)).toEqual([]);
});

test("a call of bg written by the user is updated in place, and its duplicate removed", () => {
	const text = `{ "Stop": [{ "matcher": "*", "hooks": [
  { "type": "command", "command": "BG_STOP=wait bg hook", "timeout": 9 },
  { "type": "command", "command": "say bg hook." } ] },
  { "hooks": [{ "type": "command", "command": "bun '/old place/bg.mjs' hook" }] }] }`;
	expect(addHooks(text, top, { events: ["Stop"], command }).text).toBe(
		`{ "Stop": [{ "matcher": "*", "hooks": [
  { "type": "command", "command": "BG_STOP=wait ${call}", "timeout": 9 },
  { "type": "command", "command": "say bg hook." } ] }] }`,
	);
	expect(unmerge(text)).toBe(`{ "Stop": [{ "matcher": "*", "hooks": [
  { "type": "command", "command": "say bg hook." } ] }] }`);
});

test.each([
	["cd x && bg hook"],
	["PATH=/x; bg hook"],
	["exec bg hook"],
	["nice -n 5 /old/bg hook"],
	["true | node /old/bg.mjs hook"],
	["echo `date` $(cat) > x; '/old/bg' hook"],
])("%j is more than a call of bg, so it stays", (own) => {
	const entry = (command: string) => [{ hooks: [{ command }] }];
	const list = [...entry("bg hook"), ...entry(own)];
	expect(read(merge(JSON.stringify({ Stop: entry(own) }))).Stop).toEqual(
		entry(own),
	);
	expect(read(merge(JSON.stringify({ Stop: list }))).Stop).toEqual([
		...entry(call),
		...entry(own),
	]);
	expect(unmerge(JSON.stringify({ Stop: list }))).not.toContain("bg");
});

test.each([
	["bg hook", ""],
	["'/o'\\''neil/a bg/bg.mjs' hook", ""],
	["/usr/bin/env node --no-warnings /old/bg.mjs hook", ""],
	["deno run -A --quiet /old/bg.mjs hook", ""],
	["A='1; 2' B=\"3 4\"  C=5\\ 6 bg hook", "A='1; 2' B=\"3 4\"  C=5\\ 6 "],
	["A=1 B= /old/bg  hook", "A=1 B= "],
])("%j is a call of bg, of which %j is kept", (own, kept) => {
	const list = [{ hooks: [{ command: own }] }];
	expect(read(merge(JSON.stringify({ Stop: list }))).Stop).toEqual([
		{ hooks: [{ command: kept + call }] },
	]);
});

const guards = {
	Stop: '[ -n "$s" ] && [ ! -e "$d/.due/$s" ] && exit 0; ',
};
const guarded = (own: string, by: HookCommand = { call, guards }) => {
	const text = JSON.stringify({ Stop: [{ hooks: [{ command: own }] }] });
	const added = addHooks(text, top, { events: ["Stop"], command: by }).text;
	return (read(added) as { Stop: [{ hooks: [{ command: string }] }] }).Stop[0]
		.hooks[0].command;
};

test("only an event with a guard is guarded", () => {
	const events = ["Stop", "SessionEnd"];
	const added = addHooks("{}", top, { events, command: { call, guards } });
	const entry = (text: string) => [
		{ hooks: [{ type: "command", command: text, timeout: 5 }] },
	];
	expect(read(added.text)).toEqual({
		Stop: entry(`${guards.Stop}exec ${call}`),
		SessionEnd: entry(call),
	});
	expect(unmerge(added.text)).toBe("{}");
});

const settings = "A='1; 2' B=\"3 4\" ";
const exported = `${settings}; export A B; `;
const olderGuard = `[ -n "\${session_id-}" ] && [ ! -e "/x/.due/y" ] && exit 0; `;
const search = `d=$FACTORY_PROJECT_DIR; until [ -z "$d" ]; do d=\${d%/*}; done; [ -z "$d" ] || `;

test.each([
	["bg hook", ""],
	["'/o'\\''neil/a bg/bg.mjs' hook", ""],
	[`${search}"$d/.factory/hooks/bg" hook`, ""],
	[`${search}${settings}"$d/.factory/hooks/bg" hook`, exported],
	[`${settings}bg hook`, exported],
	[`${olderGuard}exec /old/bg hook`, ""],
	[`${olderGuard}${search}exec "$d/.factory/hooks/bg.mjs" hook`, ""],
	[`${exported}${olderGuard}exec /old/bg hook`, exported],
	[`${settings}${olderGuard}exec /old/bg hook`, exported],
	[`${olderGuard}${settings}exec node /old/bg.mjs hook`, exported],
])("%j is renewed with a guard, behind %j", (own, kept) => {
	const renewed = guarded(own);
	expect(renewed).toBe(`${kept}${guards.Stop}exec ${call}`);
	expect(guarded(renewed)).toBe(renewed);
	const list = [{ hooks: [{ command: renewed }] }];
	expect(unmerge(JSON.stringify({ Stop: list }))).toBe('{"Stop":[]}');
	// Without a guard the variables stay.
	expect(guarded(renewed, command)).toBe(
		(kept && `${settings}${call}`) || call,
	);
});

test.each([
	[`${olderGuard}touch x; exec bg hook`],
	[`[ -e x/.due/y ] && touch x && exit 0; exec bg hook`],
	[`[ -e x ] && exit 0; exec bg hook`],
	[`${olderGuard}nice bg hook`],
])("%j is a guard of the user's own, so it stays", (own) => {
	expect(guarded(own)).toBe(own);
});

test("variables set for a guarded hook reach its guard and bg", () => {
	const by = {
		call: `echo "$A,$B" hook`,
		guards: { Stop: '[ "$A" = "1; 2" ] && [ ! -e "/.due/$B" ] && exit 0; ' },
	};
	const shell = (text: string) =>
		Bun.spawnSync(["sh", "-c", text]).stdout.toString();
	expect(shell(guarded(`${settings}bg hook`, by))).toBe("");
	by.guards.Stop = by.guards.Stop.replace("1; 2", "2");
	expect(shell(guarded(`${settings}bg hook`, by))).toBe("1; 2,3 4 hook\n");
});

test.each([
	["{", "line 1"],
	['{\n "Stop": [],\n}', "line 3"],
	['\uFEFF{"Stop": []}', "byte order mark"],
	["[]", "not a JSON object"],
	["", "line 1"],
	['{"Stop": {}}', "Stop is not a list"],
])("a broken file is refused: %j", (text, problem) => {
	expect(() => merge(text)).toThrow(problem);
	expect(() => unmerge(text)).toThrow(problem);
});
