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
import { textsOf } from "../tools/model.ts";
import {
	bgProgram,
	droidTest,
	type Lab,
	pidOf,
	useDroid,
} from "./droid-lab.ts";

useDroid();

const noticeHead = "Background tasks ended (notice from bg";

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
			`RUN[${own} run -q inner -- echo the harvest] RUN[until ${own} list | grep -q completed; do sleep 0.05; done] SAY[Done.]`,
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
	"the plugin's skill guides a session through three tasks to its report",
	async (lab) => {
		const folder = join(lab.home, "market");
		const { next } = (await lab.bg(["install", "--plugin", folder])).json();
		const author = Object.fromEntries(
			["AUTHOR", "COMMITTER"].flatMap((role) => [
				[`GIT_${role}_NAME`, "x"],
				[`GIT_${role}_EMAIL`, "x@x"],
			]),
		);
		for (const command of next) {
			const done = Bun.spawnSync(["sh", "-c", command], {
				env: { ...lab.env, ...author },
			});
			expect(`${command}: ${done.exitCode} ${done.stderr}`).toStartWith(
				`${command}: 0 `,
			);
		}

		const { checks } = (await lab.bg(["doctor"])).json() as {
			checks: Finding[];
		};
		expect(sayingOf(checks, "hooks")).toBe("installed: plugin bg@market");

		const part = (name: string, prompt: string) =>
			`RUN[%bg launch -q "${name}" "${prompt}" executor-med main low custom:lab | tee -a ids]`;
		const running = lab.droid(
			[
				"SKILL[task-bg]",
				part("first part", "SAY[One is fine.]"),
				part("second part", "SAY[Two is fine.]"),
				part(
					"third part",
					"RUN[until [ -e open ]; do sleep 0.05; done] SAY[Three is fine.]",
				),
				"RUN[until [ -e released ]; do sleep 0.05; done]",
				"RUN[%bg wait --timeout 9m $(cat ids)]",
				"RUN[%bg output $(cat ids)]",
				"RUN[%bg report]",
				"REPEAT[]",
			].join(" "),
			{ autonomy: "high" },
		);
		const ids = await until(() => {
			const path = join(lab.project, "ids");
			const lines = existsSync(path)
				? readFileSync(path, "utf8").trim().split("\n")
				: [];
			return lines.length === 3 ? lines : undefined;
		}, "three launches");
		const early = ids.slice(0, 2);
		for (const id of early) {
			const { supervisor } = await lab.untilTask(
				id,
				({ status }) => status === "completed",
				"an end",
			);
			await until(
				() => !isAlive(pidOf(supervisor)),
				"its supervisor to be gone",
			);
		}
		writeFileSync(join(lab.project, "released"), "");
		const notice = await until(
			() => wordsSeen(lab).split(noticeHead)[1],
			"a notice with the next answer of a tool",
		);
		for (const id of early) expect(notice).toContain(`${id} "`);
		expect(notice).not.toContain(ids[2]);

		writeFileSync(join(lab.project, "open"), "");
		const { code, text, session } = await running;
		expect(code).toBe(0);
		// There is no notice of the task that it saw end.
		expect(wordsSeen(lab).split(noticeHead)).toHaveLength(2);
		for (const [index, words] of ["One", "Two", "Three"].entries())
			expect(text).toContain(
				`| ${ids[index]} | executor-med | completed | \`${words} is fine.\` |`,
			);
		expect(text).toContain("### Still Running\n\nNone.");
		const report = await lab.bg([
			"list",
			"--session",
			session,
			"--format",
			"md",
		]);
		expect(text).toStartWith(report.stdout);
	},
);
