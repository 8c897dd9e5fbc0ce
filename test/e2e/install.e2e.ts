/**
 * `bg install` with the real droid client: hooks of a user and of a project, and a plugin with a skill
 * that guides a session through tasks. `npm run test:droid`.
 */
import { expect } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { isAlive, until } from "../tools/harness.ts";
import { readNotices } from "../tools/hooks.ts";
import { textsOf } from "../tools/model.ts";
import {
	bgProgram,
	droidTest,
	type Lab,
	pidOf,
	useDroid,
} from "./droid-lab.ts";
import { install } from "./installed.ts";

useDroid();

const noticeHead = "(notice from bg; ";

/** The results of the tools in a run, the last one first. */
const toolsSaid = (lab: Lab) =>
	(lab.model.requests().at(-1)?.messages ?? [])
		.filter(({ role }) => role === "tool")
		.map((message) => textsOf(message).join("\n"))
		.reverse();

type Finding = { check: string; ok: boolean; says: string };

const sayingOf = (checks: readonly Finding[], check: string) =>
	checks.find((each) => each.check === check)?.says;

/** The text of the newest request. */
const wordsSeen = (lab: Lab) =>
	(lab.model.requests().at(-1)?.messages ?? []).flatMap(textsOf).join("\n");

/** Whether a command that droid runs knows its session. */
const sessionSeen = async (lab: Lab, cwd?: string) => {
	const { session } = await lab.droid(
		'RUN[echo "is $BG_SESSION_ID."]',
		cwd ? { cwd } : {},
	);
	return toolsSaid(lab)[0]?.startsWith(`is ${session}.`);
};

droidTest(
	"install adds hooks and /task-bg to what the user has; uninstall removes them",
	async (lab) => {
		const settings = join(lab.home, ".factory", "settings.json");
		const mark = join(lab.home, "theirs");
		const theirs = {
			PostToolUse: [
				{ hooks: [{ type: "command", command: `touch '${mark}'` }] },
			],
		};
		const before = JSON.stringify({
			...JSON.parse(readFileSync(settings, "utf8")),
			hooks: theirs,
		});
		writeFileSync(settings, before);
		expect(await sessionSeen(lab)).toBe(false);
		expect(existsSync(mark)).toBe(true);
		rmSync(mark);

		expect((await lab.bg(["install"])).code).toBe(0);
		const name = basename(bgProgram.at(-1) ?? "");
		const own = join(lab.home, ".factory", "hooks", name);
		const { checks } = (await lab.bg(["doctor"])).json() as {
			checks: Finding[];
		};
		expect(checks.filter(({ ok }) => !ok)).toEqual([]);
		expect(sayingOf(checks, "droid")).toStartWith("0.");
		const { session, text } = await lab.droid(
			`RUN[${own} run -q inner -- echo the harvest] RUN[until ${own} list | grep -q completed; do sleep 0.2; done] SAY[Done.]`,
		);
		expect(text).toBe("Done.");
		const [task] = (await lab.bg(["list"])).json().tasks;
		expect(task.parent_session_id).toBe(session);
		const seen = lab.model
			.requests()
			.at(-1)
			?.messages.flatMap(textsOf)
			.join("\n");
		expect(seen?.split(noticeHead)).toHaveLength(2);
		expect(existsSync(mark)).toBe(true);

		const typed = await lab.droid("/task-bg SAY[I split it into parts.]");
		expect(typed.text).toBe("I split it into parts.");
		expect(wordsSeen(lab)).toContain("Follow the skill `task-bg`");

		expect((await lab.bg(["uninstall"])).code).toBe(0);
		expect(readFileSync(settings, "utf8")).toBe(before);
		expect(await sessionSeen(lab)).toBe(false);
	},
);

droidTest(
	"a project's hooks work in a droid that starts in a folder below",
	async (lab) => {
		const below = join(lab.project, "src");
		mkdirSync(below);
		Bun.spawnSync(["git", "init", "-q"], { cwd: lab.project });
		expect((await lab.bg(["install", "--project"])).code).toBe(0);
		expect(await sessionSeen(lab)).toBe(true);
		expect(await sessionSeen(lab, below)).toBe(true);
	},
);

droidTest(
	"by the skill a session runs three droids with six calls, and without polling",
	async (lab) => {
		const calls = await install(lab, "plugin");
		const { checks } = (await lab.bg(["doctor"])).json() as {
			checks: Finding[];
		};
		expect(sayingOf(checks, "hooks")).toBe("installed: plugin bg@market");

		const parts = {
			"first part": "SAY[One is fine.]",
			"second part": "SAY[Two is fine.]",
			"third part":
				"RUN[until [ -e open ]; do sleep 0.2; done] SAY[Three is fine.]",
		};
		const lines = Object.entries(parts).map(([description, prompt]) =>
			JSON.stringify({
				description,
				prompt,
				droid: "executor-low",
				autonomy: "low",
				model: "custom:lab",
			}),
		);
		const running = lab.droid(
			[
				"SKILL[task-bg]",
				`RUN[%bg launch -q --batch - <<'EOF' | tee ids\n${lines.join("\n")}\nEOF\n]`,
				"RUN[until [ -e released ]; do sleep 0.2; done]",
				"RUN[%bg wait --timeout 9m]",
				"RUN[%bg result $(cat ids)]",
				"RUN[%bg report]",
				'RUN[%bg cancel --session "$BG_SESSION_ID"; %bg cleanup --session "$BG_SESSION_ID"]',
				"SAY[All three are fine.]",
			].join(" "),
			{ autonomy: "high" },
		);
		const ids = await until(() => {
			const path = join(lab.project, "ids");
			const found = existsSync(path)
				? readFileSync(path, "utf8").trim().split("\n")
				: [];
			return found.length === 3 ? found : undefined;
		}, "three launches");
		const early = ids.slice(0, 2);
		for (const id of early) {
			const { supervisor } = await lab.untilTask(
				id,
				({ status }) => status === "completed",
				"an end",
			);
			// One supervisor has all three: it writes the mark after the record.
			expect(isAlive(pidOf(supervisor))).toBe(true);
			await until(
				() => readNotices({ dir: lab.dir }, session()).due.includes(id),
				"its notice to be due",
			);
		}
		writeFileSync(join(lab.project, "released"), "");
		const notice = await until(
			() => wordsSeen(lab).split(noticeHead)[1],
			"a notice with the next answer of a tool",
		);
		for (const id of early) expect(notice.split(`- ${id} "`)).toHaveLength(2);
		expect(notice).not.toContain(ids[2]);

		writeFileSync(join(lab.project, "open"), "");
		const { code, text } = await running;
		expect([code, text]).toEqual([0, "All three are fine."]);
		// There is no notice of the task that it saw end.
		expect(wordsSeen(lab).split(noticeHead)).toHaveLength(2);
		expect(
			calls()
				.map(({ verb }) => verb)
				.filter((verb) => verb !== "hook"),
		).toEqual(["launch", "wait", "result", "report", "cancel", "cleanup"]);

		const [, launched, , waited, results, report, cleaned] = toolsSaid(
			lab,
		).toReversed() as [string, ...string[]];
		const bytes = [launched, waited, results, report, cleaned]
			.map((answer = "") => Buffer.byteLength(answer))
			.reduce((sum, each) => sum + each);
		console.log(
			`three droids by the skill: 6 calls, ${bytes} bytes of answers`,
		);
		expect(bytes).toBeLessThanOrEqual(2000);
		for (const [index, words] of ["One", "Two", "Three"].entries()) {
			expect(waited).toContain(`${words} is fine.`);
			expect(results).toContain(`${words} is fine.`);
			const row = `\\| ${ids[index]} \\| executor-low \\| completed \\| \\d+ \\| \`${words} is fine.\` \\|`;
			expect(report).toMatch(new RegExp(row));
			expect(cleaned).toContain(ids[index] ?? "");
		}

		/** The session, which the launches recorded. */
		function session(): string {
			return lab.record(ids[0] ?? "").parent_session_id ?? "";
		}
	},
);
