import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { loadVerbs } from "../../lib/cli/verb.ts";
import { verbs } from "../../lib/cli/verbs.ts";
import {
	numberFields,
	structuredFieldsSchema,
	textFields,
} from "../../lib/task/schema.ts";
import { answers, errorAnswer } from "../tools/answers.ts";
import { scriptingFile, scriptingPage } from "../tools/docs.ts";
import { root } from "../tools/harness.ts";
import { addTask, parent, sessionStart, toolUse } from "../tools/hooks.ts";
import { recordKeys } from "../tools/record-shape.ts";
import { type Trees, treeSandbox, untilRecorded } from "../tools/worktrees.ts";

/** The calls of each verb, in this order, in one store: `$…` stands for a task, `{…}` is written to standard input. */
const calls: [verb: string, line: string[]][] = [
	["list", ["list"]],
	["list --full", ["list", "--full", "--limit", "2"]],
	["list", ["list", "--all", "--limit", "0"]],
	["status", ["status", "$tree", "--full"]],
	["status", ["status", "$failed"]],
	["status", ["status", "$queued", "--full"]],
	["status", ["status", "$long"]],
	["output", ["output", "--json", "$long", "$tree", "$running"]],
	["result", ["result", "--json", "$failed", "$running", "$huge"]],
	["droids", ["droids"]],
	["wait", ["wait", "$failed", "$long"]],
	["wait", ["wait", "$running", "--timeout", "1s"]],
	["retry", ["retry", "$failed"]],
	["launch", ["launch", "d", "SAY[x]", "--unique", "k", "--after", "$running"]],
	["launch", ["launch", "d", "SAY[x]", "--unique", "k"]],
	["launch", ["launch", "--batch", "tasks.jsonl"]],
	["resume", ["resume", "--fork", "$tree", "SAY[y]"]],
	["run", ["run", "d", "--", "true"]],
	["run", ["run", "--wait", "d", "--", "sh", "-c", "echo out; exit 3"]],
	["retry", ["retry", "--status", "error"]],
	["send", ["send", "$droid", "The port is 8080."]],
	["send", ["send", "--tag", "t", "x"]],
	["send", ["send", "$kept", "y"]],
	["status", ["status", "$droid", "--full"]],
	["edit", ["edit", "$queued", "--priority", "3", "--timeout", "9m"]],
	["limit", ["limit", "droid", "x", "3"]],
	["limit", ["limit"]],
	["pause", ["pause", "$running"]],
	["unpause", ["unpause", "$running"]],
	["pause", ["pause", "--queue"]],
	["launch", ["launch", "d", "SAY[x]"]],
	["unpause", ["unpause", "--queue"]],
	["complete", ["complete", "$queued", "by hand"]],
	["cancel", ["cancel", "$running", "$failed"]],
	["prune", ["prune", "--ttl", "1s", "--dry-run"]],
	["prune", ["prune"]],
	["cleanup", ["cleanup", "--dry-run"]],
	["cleanup", ["cleanup"]],
	["doctor", ["doctor"]],
	["install", ["install", "--dry-run"]],
	["uninstall", ["uninstall"]],
	["hook", ["hook", JSON.stringify(sessionStart(parent))]],
	["hook", ["hook", JSON.stringify(toolUse(parent))]],
];

/** Fills a store: a task in each state, one with a worktree, long texts, a record that is broken. Returns ids by name. */
async function fillStore(box: Trees): Promise<Record<string, string>> {
	const env = { BG_SESSION_ID: parent };
	const run = async (...args: string[]) => {
		const { stdout, error } = await box.bg(["run", "-q", ...args], { env });
		if (!stdout) throw new Error(error);
		return stdout.trim();
	};
	const script = (code: string) => run("d", "--", "sh", "-c", code);
	const tree = await box.work("plum", `${untilRecorded}; echo x > x`);
	const failed = await run("--retries", "1", "d", "--", "false");
	const line = "x".repeat(60);
	const long = await script(
		`i=0; while [ $i -lt 400 ]; do echo ${line}; i=$((i+1)); done`,
	);
	const huge = await script("head -c 300000 /dev/zero | tr '\\0' y | fold");
	const kept = await run("--stdin", "keep", "--tag", "t", "d", "--", "cat");
	const running = await run("--tag", "t", "d", "--", "sleep", "600");
	const queued = await run("--after", running, "d", "--", "true");
	await box.bg(["wait", failed, long, huge]);
	const broken = join(box.dir, "bg_0000000000000000.json");
	writeFileSync(broken, "{", { mode: 0o600 });
	writeFileSync(
		join(box.project, "tasks.jsonl"),
		'{"name": "a", "description": "d", "command": ["true"]}\n',
	);
	const droid = addTask(box, { kind: "droid", tags: ["t"], cwd: box.project });
	return { tree, failed, long, huge, running, queued, kept, droid };
}

test("real answers have the keys that the page tells, and no other", async () => {
	const box = treeSandbox();
	// Only what was built can be installed.
	const argv = [join(root, "dist", "bg.mjs")];
	// Nothing is sent to a droid without hooks.
	await box.bg(["install"], { argv });
	const ids = await fillStore(box);
	const faults: string[] = [];
	for (const [verb, [name = "", ...words]] of calls) {
		const args = words.map((word) =>
			word.startsWith("$") ? (ids[word.slice(1)] ?? word) : word,
		);
		const { stdout, stderr } =
			verb === "hook"
				? await box.bg([name], { input: args[0] })
				: await box.bg([name, ...args], { argv });
		const told = `bg ${[name, ...words].join(" ")}`;
		if (!stdout) {
			if (verb !== "hook") faults.push(`${told}: ${stderr}`);
			continue;
		}
		const shape = answers[verb]?.shape ?? errorAnswer;
		const { issues = [] } = v.safeParse(shape, JSON.parse(stdout));
		const [said] = issues.length ? [`${told}: ${stdout.slice(0, 300)}`] : [];
		if (said) faults.push(said, ...issues.flatMap(describeIssue));
	}
	await box.bg(["cancel", "--all"]);
	expect(faults).toEqual([]);
	const error = (await box.bg(["status", "bg_ffffffffffffffff"])).json();
	expect(v.safeParse(errorAnswer, error).success).toBe(true);
});

/** The innermost faults of an issue. */
function describeIssue(issue: v.BaseIssue<unknown>): string[] {
	const below = issue.issues?.flatMap(describeIssue);
	return below ?? [`${v.getDotPath(issue) ?? ""}: ${issue.message}`];
}

test("the page has the answer of each verb that can answer in JSON", async () => {
	const all = await loadVerbs(verbs);
	const inJson = all.filter(({ args }) => "json" in args);
	const names = [...inJson.map(({ name }) => name), "hook", "hook-complete"];
	const told = Object.keys(answers).filter((name) => !answers[name]?.isUntold);
	expect(told.toSorted()).toEqual(names.toSorted());
	const called = new Set(calls.map(([verb]) => verb));
	for (const name of names)
		if (name !== "hook-complete") expect(called).toContain(name);
});

test("the page has every key of a record", () => {
	const { entries } = structuredFieldsSchema();
	expect(Object.keys(recordKeys).toSorted()).toEqual(
		[...textFields, ...numberFields, ...Object.keys(entries)].toSorted(),
	);
});

test(".github/SCRIPTING.md is what npm run docs writes", async () => {
	expect(readFileSync(scriptingFile, "utf8")).toBe(await scriptingPage());
});
