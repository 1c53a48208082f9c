"""The steps to the present schema; one that was released is never edited."""
