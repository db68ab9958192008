"""What the gate thinks: completeness, salient slices, prompts, measures, scoring, policy."""
