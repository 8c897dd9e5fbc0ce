import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
	type InstallTarget,
	listDroidFiles,
} from "../../lib/install/droid-files.ts";
import { quoteForShell } from "../../lib/process/self.ts";
import type { Task } from "../../lib/task/schema.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import {
	type Answer,
	executable,
	program,
	root,
	sandbox,
	standIn,
} from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";

const session = "9ed08124-c6d3-40d1-b6ad-e9e504747dac";

/** The skill as it is installed, its program in its place, and a way to run its examples as droid does. */
function install(kind: InstallTarget["kind"]) {
	const box = sandbox();
	const folder = join(box.home, kind === "plugin" ? "market" : ".factory");
	const { programs, assets } = listDroidFiles({ kind, folder }, "bg");
	const call = program.map(quoteForShell).join(" ");
	executable(dirname(programs.bg), "bg", `#!/bin/sh\nexec ${call} "$@"\n`);
	const droid = executable(
		box.home,
		"a-droid",
		`#!/bin/sh\nexec ${standIn} exec --auto low -o stream-json -- "SAY[All is fine.]"\n`,
	);
	writeFileSync(join(box.home, "Makefile"), "all test:\n\t@echo made\n");
	mkdirSync(join(box.home, "pkg", "a"), { recursive: true });
	const [[, asset] = ["", ""]] = assets;
	const skill = asset.replaceAll(
		`\${DROID_PLUGIN_ROOT}`,
		dirname(dirname(programs.bg)),
	);
	const hooks = [{ hooks: [{ type: "command", command: "/x/bg hook" }] }];
	mkdirSync(join(box.home, ".factory"), { recursive: true });
	writeFileSync(
		join(box.home, ".factory", "hooks.json"),
		JSON.stringify({ PostToolUse: hooks }),
	);
	const run = (command: string, env = {}) =>
		box.bg([], {
			argv: ["bash", "-c", command],
			env: { BG_DROID: droid, BG_SESSION_ID: session, ...env },
		});
	return { ...box, skill, run };
}

/** The commands of a skill, without their program: those in code blocks, and calls in the text. */
function listExamples(skill: string): { words: string; command: string }[] {
	const [, bg = ""] = /^The program is `([^`]+)`/m.exec(skill) ?? [];
	const blocks = [...skill.matchAll(/^```sh\n([\s\S]*?)^```$/gm)];
	const commands = [
		...blocks.flatMap(
			([, text = ""]) => text.match(/^.*<<'EOF'\n[\s\S]*?^EOF$|^.+$/gm) ?? [],
		),
		...[...skill.matchAll(/`([^`\n]+)`/g)]
			.map(([, text = ""]) => text)
			.filter((text) => text.startsWith(`${bg} `)),
	];
	for (const command of commands) expect(command).toStartWith(`${bg} `);
	return commands.map((command) => ({
		command,
		words: command.slice(bg.length + 1).split("\n")[0] ?? "",
	}));
}

/** The kinds differ in where files are, not in what the program does: one is enough for a built form. */
const kinds = program.includes(join(root, "bg.ts"))
	? (["user", "project", "plugin"] as const)
	: (["user"] as const);

for (const kind of kinds)
	concurrentTest(`every example of the ${kind}'s skill works`, async () => {
		const { skill, run, record, untilTask, bg, dir } = install(kind);
		const ids: string[] = [];
		const launched = (count: number) => (answer: Answer) => {
			const lines = answer.stdout.trim().split("\n");
			expect(lines).toHaveLength(count);
			for (const id of lines)
				expect(record(id).parent_session_id).toBe(session);
			ids.push(...lines);
		};
		const queued = (answer: Answer) =>
			expect(answer.json().message.status).toBe("queued");
		/** What each example answers, by its first words. */
		const checks: Record<string, (answer: Answer) => unknown> = {
			"launch -q --batch - <<'EOF'": launched(3),
			'run -q "build" --timeout 20m -- make -j4': launched(1),
			"launch -q \"check pkg/a\" --prompt-file - --droid executor-med --autonomy medium <<'EOF'":
				(answer) => {
					launched(1)(answer);
					expect(record(ids.at(-1) ?? "")).toMatchObject({
						prompt:
							"Run the tests in `pkg/a`. Report each failure with its cause.\n",
						agent: "executor-med",
						autonomy: "medium",
					});
				},
			"wait --timeout 9m": (answer) =>
				expect(answer.json().tasks.map(({ status }: Task) => status)).toEqual(
					ids.map(() => "completed"),
				),
			"output ID --tail 20": (answer) => expect(answer.stdout).not.toBe(""),
			"cancel ID": (answer) =>
				expect(answer.json().tasks).toMatchObject([{ status: "cancelled" }]),
			"send ID 'The port is 8080, not 80.'": queued,
			"send parent 'Half of the tests pass.'": queued,
			"result ID ID": (answer) =>
				expect(answer.stdout.split("All is fine.")).toHaveLength(3),
			"retry -q ID": launched(1),
			"resume -q ID 'The port is 8080. Run the failed test again.'": (
				answer,
			) => {
				launched(1)(answer);
				expect(record(ids.at(-1) ?? "").prompt).toStartWith("The port is");
			},
			report: (answer) => expect(answer.stdout).toContain("All is fine."),
			droids: (answer) =>
				expect(
					answer.json().droids.map(({ name }: { name: string }) => name),
				).toEqual(expect.arrayContaining(namesIn(skill))),
			'cancel --session "$BG_SESSION_ID"': (answer) =>
				expect(answer.json()).toMatchObject({ tasks: [] }),
			'cleanup --session "$BG_SESSION_ID"': (answer) =>
				expect(answer.json().archived.toSorted()).toEqual(ids.toSorted()),
		};
		const examples = listExamples(skill);
		expect(examples.map(({ words }) => words).toSorted()).toEqual(
			Object.keys(checks).toSorted(),
		);
		const runsLast = ({ words }: { words: string }) =>
			+words.includes("$BG_SESSION_ID");
		for (const { words, command } of examples.toSorted(
			(a, b) => runsLast(a) - runsLast(b),
		)) {
			const [reviewer = ""] = ids;
			let given = [reviewer, ids[4] ?? ""];
			if (words === "cancel ID") {
				launched(1)(
					await run(
						`${examples[0]?.command.split(" launch ")[0]} run -q "a server" -- sleep 600`,
					),
				);
				given = [ids.at(-1) ?? ""];
				await untilTask(given[0] ?? "", ({ process }) => process, "its start");
			}
			let env = {};
			if (words.startsWith("send")) {
				// A droid that works, and was launched by another session.
				const id = addTask(
					{ dir },
					{ kind: "droid", parent_session_id: "another" },
				);
				if (words.startsWith("send parent")) env = { BG_TASK_ID: id };
				given = [id];
			}
			if (words.startsWith("retry")) given = [ids[1] ?? ""];
			const answer = await run(
				command.replace(/\bID\b/g, () => given.shift() ?? ""),
				env,
			);
			expect([words, answer.stderr, answer.code]).toEqual([words, "", 0]);
			checks[words]?.(answer);
			if (/^(retry|resume)/.test(words)) await bg(["wait", ids.at(-1) ?? ""]);
		}
	});

/** The droids that the skill's table names. */
const namesIn = (skill: string) =>
	[...skill.matchAll(/^\| `.*\|/gm)]
		.flatMap(([row]) => [...row.matchAll(/`([a-z]+(?:-[a-z]+)?)`/g)])
		.map(([, name = ""]) => name)
		.filter((name) => !["low", "medium", "high"].includes(name));
