/**
 * The queue and the real droid: what bg asks of the client beyond a prompt, and what stops it.
 * `npm run test:droid`.
 */
import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { textsOf } from "../tools/model.ts";
import { droidTest, type Lab, useDroid } from "./droid-lab.ts";

useDroid();

const ended = async (lab: Lab, id: string) => {
	await lab.bg(["wait", id]);
	return lab.record(id);
};

droidTest("resume --fork carries a droid's session on", async (lab) => {
	const first = await ended(lab, await lab.launch("SAY[The word is plum.]"));
	expect(first).toMatchObject({ result: "The word is plum." });
	const resumed = await lab.bg([
		...["resume", first.id, "SAY[It was plum.]"],
		...["--fork", "-q"],
	]);
	const second = await ended(lab, resumed.stdout.trim());
	expect(second).toMatchObject({
		status: "completed",
		result: "It was plum.",
		resume_of: first.id,
	});
	expect(second.droid_session_id).not.toBe(first.droid_session_id);
	const words = lab.model.requests().at(-1)?.messages.flatMap(textsOf).join();
	expect(words).toContain("The word is plum.");
});

droidTest("retry sends the same prompt to the same model", async (lab) => {
	const first = await ended(lab, await lab.launch("SAY[Once.]"));
	const again = (await lab.bg(["retry", "-q", first.id])).stdout.trim();
	expect(await ended(lab, again)).toMatchObject({
		status: "completed",
		result: "Once.",
		retry_of: first.id,
		model: "custom:lab",
	});
});

droidTest(
	"a droid's worktree is known, kept or not, with what changed",
	async (lab) => {
		const git = (...args: string[]) =>
			Bun.spawnSync(
				["git", "-c", "user.name=x", "-c", "user.email=x@x", ...args],
				{ cwd: lab.project },
			).stdout.toString();
		git("init", "-q");
		git("config", "user.name", "x");
		git("config", "user.email", "x@x");
		git("commit", "-q", "--allow-empty", "-m", "first");
		const start = git("rev-parse", "HEAD").trim();
		const commit = "echo one > one; git add one; git commit -qm one";
		for (const [branch, isKept] of [
			["plum", true],
			["pear", false],
		] as const) {
			const launched = await lab.bg([
				...["launch", "-q", `--worktree=${branch}`, "x"],
				`RUN[${commit}${isKept ? "; touch grown" : ""}] SAY[Done.]`,
				...["executor-med", "main", "medium", "custom:lab"],
			]);
			const task = await ended(lab, launched.stdout.trim());
			expect(task).toMatchObject({ status: "completed", worktree: branch });
			expect(task).toMatchObject({
				worktree_branch: branch,
				worktree_start: start,
			});
			expect(existsSync(join(lab.project, "one"))).toBe(false);
			expect(existsSync(task.worktree_dir ?? "")).toBe(isKept);
			expect(git("worktree", "list").includes(branch)).toBe(isKept);
			const { changes } = (await lab.bg(["status", task.id])).json();
			expect(changes).toMatchObject({
				...{ branch, start, commits: 1, files: isKept ? 2 : 1 },
				...(isKept ? {} : { gone: true }),
			});
			const { stdout, code } = await lab.bg(["diff", task.id]);
			expect(code).toBe(0);
			expect(stdout).toContain("\n+one\n");
			expect(stdout.includes("b/grown")).toBe(isKept);
			if (!isKept) continue;
			// A resumed droid goes on in the same folder, and its difference has the whole branch.
			const resumed = await lab.bg([
				...["resume", "--fork", "-q", task.id, "RUN[touch more] SAY[Done.]"],
			]);
			const next = await ended(lab, resumed.stdout.trim());
			const shown = (await lab.bg(["status", next.id])).json().changes;
			const { worktree_dir: folder } = task;
			expect(shown).toMatchObject({ folder, branch, start, files: 3 });
		}
	},
);

droidTest("--timeout ends a droid with its tools, and says so", async (lab) => {
	const launched = await lab.bg([
		...["launch", "-q", "--timeout", "3s", "x", "RUN[sleep 300]"],
		...["executor-med", "main", "medium", "custom:lab"],
	]);
	const task = await ended(lab, launched.stdout.trim());
	// By itself droid exits 0 on SIGTERM, and says that it is done.
	expect(task).toMatchObject({ status: "error", reason: "timeout" });
	expect(task.error).toBe("timed out after 3s");
});
