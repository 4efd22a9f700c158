"""The fault matrix of the trading side and its stream: which test proves which row.

Invariants: I1 no intent is more than one order at once; I2 none is lost; I3 a line of the journal is on the disk before
an order is on the wire. They hold where processes are killed from outside (P), alone and together with the other rows.

====  ====================================================  ============================================================
row   what goes wrong                                       proved by (below trading_pipeline_tests)
====  ====================================================  ============================================================
T1    submit: dropped before it is accepted                 faults/test_fault_matrix.py::test_t1_an_order_that_never_arrived_is_sent_again_under_its_id
T2    submit: accepted, the answer lost                     faults/test_fault_matrix.py::test_t2_an_order_that_was_accepted_without_an_answer_is_adopted_and_not_sent_again
T3    submit: arrives after its timeout                     faults/test_fault_matrix.py::test_t3_an_order_that_arrives_late_is_adopted_or_meets_the_one_sent_again_and_there_is_one
T4    submit: 429                                           faults/test_fault_matrix.py::test_t4_an_order_that_met_a_rate_limit_is_sent_again_under_its_id_once_that_allows
T5    refusals, as recorded                                 adapters/alpaca/test_refusals.py::test_each_recorded_refusal_means_what_is_done_next_and_all_others_are_final
T5    fractions refused                                     application/test_order_slices.py::test_where_fractions_are_refused_whole_shares_are_sent_once_under_the_same_id
T5    buying power too small                                application/test_order_slices.py::test_an_order_beyond_the_buying_power_is_resized_once_to_what_there_is
T5    not tradable, halted                                  application/test_order_slices.py::test_what_cannot_be_traded_now_is_parked_the_others_go_on_and_the_next_run_tries_again
T6    rejected after it was acknowledged                    faults/test_fault_matrix.py::test_t6_an_order_that_is_rejected_after_it_was_acknowledged_ends_its_intent
T7    filled in parts, then left                            faults/test_fault_matrix.py::test_t7_a_partial_fill_is_completed_by_the_broker_or_by_a_later_slice_to_the_share
T7    filled in parts, then cancelled by the broker         faults/test_fault_matrix.py::test_t7_what_the_broker_itself_cancels_in_the_middle_is_not_sent_again
T7    every status, and those of tomorrow                   application/test_execution.py::test_every_status_is_borne_and_those_that_end_an_order_end_the_intent
T7    every status, told apart from those of tomorrow       adapters/alpaca/test_translation.py::test_a_status_of_tomorrow_is_unrecognised_and_not_over
T8    cancel: no answer                                     faults/test_fault_matrix.py::test_t8_a_cancel_without_an_answer_is_read_from_the_order_before_the_rest_is_sent
T8    cancel: filled already                                faults/test_fault_matrix.py::test_t8_t11_a_fill_that_wins_against_the_cancel_leaves_no_rest_to_send
T9    several cancels, one of them without an answer        application/test_execution.py::test_a_cancel_without_an_answer_keeps_no_other_order_from_being_cancelled
T10   lists of orders in pages                              adapters/alpaca/test_broker.py::test_every_order_since_an_instant_is_read_however_many_pages_it_takes
T11   a new price races with a fill                         faults/test_fault_matrix.py::test_t8_t11_a_fill_that_wins_against_the_cancel_leaves_no_rest_to_send
T12   account blocked                                       faults/test_fault_matrix.py::test_t12_a_blocked_account_is_sent_nothing_and_the_plan_goes_on_once_it_is_free
T13   traded by hand                                        application/test_books.py::test_what_others_did_is_external_and_never_a_break
T13   an order by hand on the other side                    application/test_order_slices.py::test_an_order_placed_by_hand_on_the_other_side_is_never_touched_and_ours_waits
T14   two pipelines at once                                 faults/test_two_pipelines.py::test_two_pipelines_started_together_on_one_plan_place_one_set_of_orders
T14   two pipelines at once, one of which dies              faults/test_two_pipelines.py::test_a_pipeline_that_is_killed_beside_another_leaves_its_orders_to_that
W1    stream: refused                                       adapters/alpaca/test_stream.py::test_a_refused_connection_is_a_failure
W1    stream: keys refused or never answered                adapters/alpaca/test_stream.py::test_keys_that_are_never_answered_fail_at_their_deadline
W1    stream: five failures, polling only                   adapters/alpaca/test_stream.py::test_five_failures_in_a_row_are_told_once_and_the_stream_is_tried_on
W2    stream: half open                                     adapters/alpaca/test_stream.py::test_a_peer_that_answers_no_ping_is_left
W2    stream: mute                                          adapters/alpaca/test_stream.py::test_a_stream_that_keeps_a_change_to_itself_is_stale_and_made_anew
W3    stream: a gap                                         adapters/alpaca/test_stream.py::test_each_connection_wakes_whoever_waits_and_asks_for_a_look_over_rest
W4    stream: repeated, out of order                        adapters/alpaca/test_stream_news.py::test_whatever_is_lost_repeated_or_mixed_up_the_filled_shares_only_grow_and_the_gap_is_filled_exactly
W5    stream: malformed, new kinds of event                 adapters/alpaca/test_stream.py::test_a_frame_that_cannot_be_used_is_set_aside_and_the_stream_lives
W6    stream: more news than is kept                        adapters/alpaca/test_stream.py::test_more_news_than_is_kept_asks_for_a_look_over_rest
J1    journal lost                                          faults/test_fault_matrix.py::test_j1_a_lost_journal_is_made_again_from_the_plan_and_the_broker
J1    journal damaged                                       faults/test_fault_matrix.py::test_j1_a_damaged_journal_sends_nothing_until_it_is_moved_away
J1    journal rolled back                                   faults/test_fault_matrix.py::test_j1_a_journal_that_was_rolled_back_finds_at_the_broker_what_it_has_forgotten
P     SIGKILL at every point of the protocol and in between faults/test_kill_matrix.py::test_killed_anywhere_under_any_fault_every_intent_becomes_one_order
P     the same with ids from uuid: must be found            faults/test_kill_matrix.py::test_ids_from_uuid_are_reported_as_duplicates
P     the same with blind retries: must be found            faults/test_kill_matrix.py::test_blind_retries_are_reported_as_duplicates
P     faults, restarts and time in any order                faults/test_state_machine.py::test_whatever_happens_in_whatever_order_no_intent_is_doubled_lost_or_sent_unjournalled
G1    Dagster starts a killed step again                    faults/test_reexecution.py::test_g1_a_step_that_is_killed_after_it_submitted_and_started_again_by_dagster_places_nothing_twice
G2    a killed run is executed again from the UI            faults/test_reexecution.py::test_g2_a_run_that_is_killed_after_it_submitted_and_executed_again_from_the_ui_places_nothing_twice
G5    two runs at once                                      faults/test_reexecution.py::test_g5_two_runs_at_once_place_one_set_of_orders
X1    disk full under the journal                           faults/test_fault_matrix.py::test_x1_on_a_full_disk_no_order_leaves_that_is_not_journalled
X2    SIGTERM                                               faults/test_fault_matrix.py::test_x2_asked_to_end_a_run_finishes_what_is_on_its_way_and_begins_nothing_new
X2    SIGTERM, many orders on their way                     faults/test_fault_matrix.py::test_x2_asked_to_end_with_many_orders_on_their_way_each_is_journalled_as_it_was_answered
I2    an order that never turns up                          faults/test_fault_matrix.py::test_i2_an_order_that_never_turns_up_is_abandoned_when_its_session_has_closed
====  ====================================================  ============================================================
"""  # noqa: E501 - the names of tests are sentences

ROWS = (
    *(f"T{number}" for number in range(1, 15)),
    *(f"W{number}" for number in range(1, 7)),
    *("J1", "P", "G1", "G2", "G5", "X1", "X2", "I2"),
)
