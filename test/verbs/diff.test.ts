import { expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { concurrentTest } from "../tools/concurrent.ts";
import { sandbox, standIn } from "../tools/harness.ts";
import { openPty } from "../tools/pty.ts";
import { treeSandbox, untilRecorded } from "../tools/worktrees.ts";

concurrentTest(
	"diff shows commits, uncommitted changes and untracked files since the task began",
	async () => {
		const box = treeSandbox();
		const { bg, git, work, record } = box;
		const start = git(["rev-parse", "HEAD"]);
		const id = await work(
			"plum",
			`${untilRecorded}; echo one > one; git add one; git commit -qm one; echo two >> one; printf 'three' > 'a new\nfile'`,
		);
		git(["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
		const folder = record(id).worktree_dir ?? "";
		expect(record(id)).toMatchObject({
			worktree_branch: "plum",
			worktree_start: start,
		});
		const index = git(["rev-parse", "--git-path", "index"], folder);
		const before = readFileSync(index);
		const { stdout, stderr, code } = await bg(["diff", id]);
		expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
		expect(stdout).toContain("\n+one\n+two\n");
		expect(stdout).toContain('+++ "b/a new\\nfile"');
		expect(stdout).toContain("new file mode 100644");
		const stat = await bg(["diff", "--stat", id]);
		expect(stat.stdout).toContain("2 files changed, 3 insertions(+)");
		expect(readFileSync(index)).toEqual(before);
		const { changes } = (await bg(["status", id])).json();
		const figures = { branch: "plum", start, commits: 1, files: 2 };
		expect(changes).toEqual({ folder, ...figures });
		const words = "`plum: 1 commit ahead, 2 files changed`";
		expect((await bg(["report"])).stdout).toContain(words);
		expect((await bg(["status", id, "--text"])).stdout).toContain(folder);
		const pty = openPty(box, ["watch"], { columns: 120, rows: 40 });
		await pty.untilScreen(/plum: 1 commit ahead, 2 files changed/);
		pty.type("q");
		expect(await pty.ended).toBe(0);
	},
);

concurrentTest(
	"of a worktree that is gone its branch is shown, and then nothing",
	async () => {
		const { bg, git, work } = treeSandbox();
		const start = git(["rev-parse", "HEAD"]);
		// This droid may end before its worktree is recorded: then its output tells.
		const id = await work("pear", "echo p > p; git add p; git commit -qm p");
		const shown = await bg(["diff", id]);
		expect(shown.stdout).toContain("\n+p\n");
		expect(shown.stderr).toContain("is gone");
		const { changes } = (await bg(["status", id])).json();
		expect(existsSync(changes.folder)).toBe(false);
		const figures = { branch: "pear", start, commits: 1, files: 1 };
		expect(changes).toMatchObject({ gone: true, ...figures });
		git(["branch", "-q", "-D", "pear"]);
		const none = await bg(["diff", id]);
		expect(none.code).toBe(111);
		expect(none.error).toContain("its branch pear are gone");
		const after = (await bg(["status", id])).json();
		expect(after.changes.note).toContain("its branch pear are gone");
	},
);

concurrentTest(
	"a task without a worktree has no difference of its own",
	async () => {
		const box = sandbox();
		const id = await box.run(["true"]);
		const launch = ["launch", "-q", "d", "SAY[x]"];
		const droid = await box.bg(launch, { env: { BG_DROID: standIn } });
		for (const each of [id, droid.stdout.trim()]) {
			await box.bg(["wait", each]);
			const { code, error } = await box.bg(["diff", each]);
			expect(code).toBe(111);
			expect(error).toContain("cannot be told from others");
			expect((await box.bg(["status", each])).json().changes).toBeUndefined();
		}
	},
);

concurrentTest(
	"no program that the repository names is run, by no variable either",
	async () => {
		const { bg, git, work, record, home } = treeSandbox();
		const id = await work("fig", "echo f > f; git add f; git commit -qm f");
		const kept = await work(
			"lime",
			`${untilRecorded}; echo l > l; git add l; git commit -qm l; echo m >> l; echo u > u`,
		);
		const evil = (name: string) => `touch ${join(home, `ran-${name}`)}; cat`;
		const settings = {
			"core.fsmonitor": evil("monitor"),
			"core.pager": evil("pager"),
			"diff.external": evil("external"),
			"diff.x.textconv": evil("textconv"),
			"diff.x.command": evil("command"),
			"filter.x.clean": evil("clean"),
			"filter.a=b.process": evil("process"),
			"filter.a=b.required": "true",
			"core.hooksPath": join(home, "hooks"),
			"core.attributesFile": join(home, "attributes"),
		};
		for (const [name, value] of Object.entries(settings))
			git(["config", name, value]);
		await Bun.write(
			join(home, "attributes"),
			"l diff=x filter=x\nu filter=a=b\n",
		);
		const env = {
			GIT_EXTERNAL_DIFF: evil("variable"),
			GIT_DIR: "/",
			GIT_INDEX_FILE: "/dev/null",
		};
		for (const each of [id, kept]) {
			const { code, stdout } = await bg(["diff", each], { env });
			expect({ each, code }).toEqual({ each, code: 0 });
			expect(stdout).toContain(each === id ? "\n+f\n" : "\n+l\n+m\n");
			const { changes } = (await bg(["status", each], { env })).json();
			expect(changes).toMatchObject({ files: each === id ? 1 : 2 });
		}
		expect(readdirSync(home).filter((name) => /^ran-/.test(name))).toEqual([]);
		// What was recorded does not depend on git's logs.
		rmSync(join(record(kept).cwd ?? "", ".git", "logs"), { recursive: true });
		expect((await bg(["diff", kept])).stdout).toContain("\n+m\n");
	},
);
