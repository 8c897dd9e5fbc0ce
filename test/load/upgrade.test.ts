import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { playRound } from "../chaos/round.ts";
import { buildFormer, formerCommits, planUpgrade } from "../chaos/upgrade.ts";

const title =
	"of 300 tasks that an older bg (%s) and this one launch in turns, none is lost, and never more run than may";

test.each(Object.entries(formerCommits))(
	title,
	async (_, commit) => {
		const folder = mkdtempSync(join(tmpdir(), "bg-former-"));
		try {
			const former = await buildFormer(join(folder, "bg"), commit);
			if (!former) {
				console.log(
					`left out: ${title} (this clone lacks the commit: git fetch --unshallow)`,
				);
				return;
			}
			const result = await playRound(planUpgrade(1, 300, 15_000), former);
			console.log(
				`${result.tasks} tasks, at rest after ${result.recovery.toFixed(1)} s, a place free for ${(result.gap / 1000).toFixed(1)} s`,
			);
			expect(result.problems).toEqual([]);
			expect(result.tasks).toBeGreaterThanOrEqual(300);
		} finally {
			rmSync(folder, { recursive: true, force: true });
		}
	},
	{ timeout: 600_000 },
);
