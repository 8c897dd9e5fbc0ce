import { expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import {
	findLastAssistantText,
	HookPayload,
	parseSubagent,
} from "../../lib/droid/payloads.ts";

const nested = (text: string) =>
	JSON.stringify({
		type: "message",
		message: { role: "assistant", content: [{ type: "text", text }] },
	});
const flat = (text: string) =>
	JSON.stringify({ role: "assistant", content: [{ type: "text", text }] });
const textOf = (...lines: string[]) =>
	findLastAssistantText(Buffer.from(lines.join("\n")));

test.each([
	["role inside message", [nested("old"), nested("last"), ""], "last"],
	["role on top", [flat("old"), flat("last"), ""], "last"],
	["content as a string", ['{"role":"assistant","content":"plain"}'], "plain"],
	["no newline at the end", [nested("first"), nested("whole")], "whole"],
	["a torn last line", [nested("whole"), nested("torn").slice(0, -9)], "whole"],
	["a torn first line", [nested("torn").slice(9), nested("whole")], "whole"],
	[
		"lines of others behind it",
		[nested("said"), '{"role":"user","content":"assistant"}', "{}", "[]", ""],
		"said",
	],
	[
		"a tool's call behind it",
		[
			nested("said"),
			'{"message":{"role":"assistant","content":[{"type":"tool_use","id":"1","input":{}}]}}',
		],
		"said",
	],
	["empty lines", ["", nested("said"), "", "", ""], "said"],
	["nothing", [], undefined],
	["no assistant", ['{"role":"user","content":"hi"}'], undefined],
] as [string, string[], string | undefined][])(
	"the last assistant text is found: %s",
	(_, lines, words) => {
		expect(textOf(...lines)).toBe(words);
	},
);

test("whatever a transcript holds, the last whole assistant line is its answer", () => {
	const junk = fc
		.oneof(fc.json(), fc.string(), fc.constant('{"assistant"'))
		.filter((line) => !line.includes('"assistant",'));
	fc.assert(
		fc.property(
			fc.array(junk),
			fc.string({ minLength: 1, unit: "binary" }),
			fc.array(junk),
			fc.boolean(),
			(before, words, after, inside) => {
				const line = inside ? nested(words) : flat(words);
				const bytes = Buffer.from([...before, line, ...after].join("\n"));
				expect(findLastAssistantText(bytes)).toBe(
					JSON.parse(JSON.stringify(words)),
				);
			},
		),
	);
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
			findLastAssistantText(Buffer.from(bytes));
		}),
	);
});

const launched = (id: string) =>
	`Task launched in background.\ntask_id: ${id}\nsession_id: ${id}\nsubagent_type: worker\ndescription: sub task`;

test("a subagent is one that the Task tool started in the background", () => {
	const tool_input = { description: "d", prompt: "p", subagent_type: "w" };
	const call = { tool_name: "Task", tool_input };
	expect(parseSubagent({ ...call, tool_response: launched("a-1") })).toEqual({
		...tool_input,
		sessionId: "a-1",
	});
	for (const payload of [
		{ ...call, tool_response: "done" },
		{ ...call, tool_response: launched("../../etc/passwd") },
		{ ...call, tool_response: launched("") },
		{ ...call, tool_response: { text: launched("a-1") } },
		{ ...call, tool_name: "Execute", tool_response: launched("a-1") },
		{ ...call, tool_input: [7], tool_response: 7 },
		{ ...call, tool_input: { description: 7 }, tool_response: launched("a") },
		{},
	])
		expect(parseSubagent(payload)).toBeUndefined();
});

test("any JSON is a payload or is refused, and no crash", () => {
	const keys = Object.keys(HookPayload.entries);
	const value = fc.oneof(fc.jsonValue(), fc.constant(launched("x")));
	const payload = fc.oneof(
		fc.jsonValue(),
		fc.dictionary(fc.constantFrom(...keys), value),
	);
	fc.assert(
		fc.property(payload, (raw) => {
			const parsed = v.safeParse(HookPayload, raw);
			if (!parsed.success) return;
			const { session_id, calling_session_id } = parsed.output;
			for (const id of [session_id, calling_session_id])
				if (id !== undefined) expect(id).toMatch(/^[A-Za-z0-9_-]{1,128}$/);
			parseSubagent(parsed.output);
		}),
	);
});
