import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { parseDefinition } from "../../../lib/droid/definitions/definition.ts";
import { buildExecCommand } from "../../../lib/droid/exec.ts";

describe("a droid's definition", () => {
	test("gives model, effort, tools and system prompt", () => {
		const definition = parseDefinition(
			[
				"---",
				"name: executor-high",
				'description: "does: things"',
				"model: claude-opus-4",
				"reasoningEffort: high",
				"tools: [Read, 'LS', Execute]",
				"---",
				"",
				"You are careful.",
				"",
			].join("\n"),
		);
		expect(definition).toEqual({
			description: "does: things",
			model: "claude-opus-4",
			reasoningEffort: "high",
			tools: ["Read", "LS", "Execute"],
			body: "You are careful.",
			warnings: [],
		});
	});

	test.each([
		["tools:\n  - Read\n  - Grep", ["Read", "Grep"]],
		["tools: Read, Grep", ["Read", "Grep"]],
		["tools: read-only", ["Read", "LS", "Grep", "Glob"]],
		["tools: []", undefined],
		["tools:", undefined],
	])("%p are the tools %p", (line, tools) => {
		const { tools: read, warnings } = parseDefinition(`---\n${line}\n---\nx`);
		expect(read).toEqual(tools);
		expect(warnings).toEqual([]);
	});

	test("inherits the model if it says so", () => {
		expect(parseDefinition("---\nmodel: inherit\n---\n").model).toBeUndefined();
	});

	test.each([
		["metadata:\n  a: {b: c}", /cannot read/],
		["model: -o text", /unusable model/],
		["tools: [--skip-permissions-unsafe]", /unusable list/],
	])("%p is a warning, not a fault", (line, warning) => {
		const { warnings } = parseDefinition(`---\n${line}\n---\nbody`);
		expect(warnings.join()).toMatch(warning);
	});

	test("without front matter is all system prompt", () => {
		const { body, warnings } = parseDefinition("Be kind.");
		expect(body).toBe("Be kind.");
		expect(warnings).toHaveLength(1);
	});

	test("can be anything without a crash, and never makes a flag of a value", () => {
		fc.assert(
			fc.property(fc.string({ unit: "binary" }), (text) => {
				const definition = parseDefinition(`---\n${text}\n---\n${text}`);
				const command = buildExecCommand({
					program: "droid",
					autonomy: "low",
					definition,
				});
				const flags = command.filter((part) => part.startsWith("-"));
				for (const flag of flags)
					expect(["--auto", "-o", "-m", "-r", "--only-tools"]).toContain(flag);
			}),
		);
	});
});

test("an explicit model wins over the definition's", () => {
	const definition = parseDefinition("---\nmodel: a\n---\n");
	const options = {
		program: "/bin/droid",
		autonomy: "high",
		definition,
	} as const;
	expect(buildExecCommand({ ...options, model: "b" })).toEqual(
		"/bin/droid exec --auto high -o stream-json -m b".split(" "),
	);
	expect(buildExecCommand(options)).toContain("a");
});
